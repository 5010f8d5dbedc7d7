"""A running service as its deployer sees it, wherever it runs: its address, readiness and answers."""

import contextlib
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import numpy as np
import pandas as pd

from fivestage.artifact.predictions import numbers_in
from fivestage.artifact.scorer import SINGLE_TOLERANCE, TOLERANCE
from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.contract.contract import Column, TimestampColumn, epoch
from fivestage.features.stores import HOUR
from fivestage.serving.service_settings import PREFIX, Settings

PATIENCE = 120.0  # seconds for a start, a reload or an answer: a busy machine is no failure
LOG_LINES = 15  # of the end of a log, in an error
MAX_CHARACTERS = 500  # of a refusal, in an error

JsonRow = dict[str, Any]


@dataclass(frozen=True)
class Deployment:
    """What serves now."""

    version: str  # in the registry
    url: str  # its address
    difference: float  # the largest difference of its answers from the offline ones, as `smoke` measures it


def url(settings: Settings) -> str:
    """Return the address of the service.

    Args:
        settings: Of the service; its host and port count.

    Returns:
        The address as `http://HOST:PORT`, without a slash at the end.
    """
    return f"http://{settings.host}:{settings.port}"


def headers(settings: Settings) -> dict[str, str]:
    """Return the headers that a request needs: the API key, if there are any."""
    return {"X-API-Key": settings.keys[0]} if settings.keys else {}


def require_free_port(settings: Settings) -> None:
    """Make sure that the service can listen at its port.

    Args:
        settings: Of the service; its host and port count.

    Raises:
        UserError: When something else listens there.
    """
    with contextlib.closing(socket.socket()) as probe:
        if probe.connect_ex((settings.host, settings.port)) == 0:
            raise UserError(
                f"Port {settings.port} of {settings.host} is in use: stop what holds it (`make stop` if it "
                f"is our own service), or set {PREFIX}PORT to another."
            )


def wait_until_ready(
    settings: Settings,
    wait_seconds: float,
    log: Callable[[], str],
    ended: Callable[[], str] = lambda: "",
) -> None:
    """Wait until the service says that it is ready."""
    deadline = time.monotonic() + wait_seconds
    reason = "it did not answer"
    while not (end := ended()) and time.monotonic() < deadline:
        try:
            response = httpx.get(f"{url(settings)}/readyz", timeout=2)
            if response.status_code == httpx.codes.OK:
                return
            reason = response.json().get("detail", response.text)
        except (httpx.HTTPError, ValueError):
            reason = "it did not answer"
        time.sleep(0.05)
    tail = "\n".join(log().splitlines()[-LOG_LINES:])
    raise UserError(
        f"The service at {url(settings)} is not ready: {end or reason}. The end of its log:\n{tail}"
    )


def json_rows(frame: pd.DataFrame, columns: Mapping[str, Column]) -> list[JsonRow]:
    """Return rows as a client writes them in JSON."""
    values: dict[str, list[Any]] = {}
    for name, column in columns.items():
        if isinstance(column, TimestampColumn):
            present = frame[name].notna().to_numpy()
            times = frame[name].fillna(0).to_numpy(np.int64).astype("datetime64[s]")
            texts = np.char.add(np.datetime_as_string(times), "Z").tolist()
            values[name] = [text if here else None for text, here in zip(texts, present, strict=True)]
        else:
            known = frame[name].notna() & (frame[name] != "")
            values[name] = frame[name].astype(object).where(known, None).tolist()
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


@dataclass(frozen=True)
class SmokeRows:
    """What a version is asked before it serves."""

    rows: Sequence[Mapping[str, Any]]  # raw rows as a client writes them in JSON
    predictions: Sequence[Sequence[float]]  # the numbers of each row's prediction, computed offline


def smoke(settings: Settings, expected: SmokeRows) -> float:
    """Post raw rows as a client would, and compare the answers with the predictions computed offline.

    Rows whose history the service no longer holds, as when a version of long ago is served, are posted but
    not compared: at loading, the version has answered them from a history of its own.
    """
    address = url(settings)
    rows, predictions = expected.rows, expected.predictions
    try:
        with httpx.Client(base_url=address, headers=headers(settings), timeout=PATIENCE) as client:
            response = client.post("/predict", json={"rows": list(rows)}).raise_for_status()
            answers = [numbers_in(one) for one in response.json()["predictions"]]
            model = client.get("/model").raise_for_status().json()
    except httpx.HTTPStatusError as error:
        refusal = f"{error.response.status_code}, {error.response.text[:MAX_CHARACTERS]}"
        raise UserError(f"The smoke test was refused by {address}: {refusal}") from error
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise UserError(f"The smoke test got no answer from {address}: {error}.") from error
    if not len(answers) == len(predictions) > 0:
        raise UserError(f"The smoke test posted {len(predictions)} rows and got {len(answers)} answers.")
    compared = [place for place, row in enumerate(rows) if _has_history(row, model)]
    found = np.array([answers[place] for place in compared], dtype=np.float64)
    offline = np.array([predictions[place] for place in compared], dtype=np.float64)
    worst = float((np.abs(found - offline) / np.maximum(1, np.abs(offline))).max(initial=0))
    if not worst <= min(
        SINGLE_TOLERANCE, model.get("tolerance", TOLERANCE)
    ):  # a model may be in single precision
        raise UserError(f"The smoke test failed: answers differ by up to {worst:.2g} from the offline ones.")
    return worst


def _has_history(row: Mapping[str, Any], model: Mapping[str, Any]) -> bool:
    """Whether the service still holds all that a row's features look back at."""
    if not (forgotten := model.get("forgotten", 0)):  # epoch seconds, up to which history was dropped
        return True
    decision = model["contract"]["decision"]
    at: int = epoch(datetime.fromisoformat(row[decision["time_column"]]))
    reach = round((decision["hours_before"] + model["reach_hours"]) * HOUR)
    return bool(at - reach >= forgotten + DAY)  # a day more: another worker process may have dropped more
