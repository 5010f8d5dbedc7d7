"""Client for a running service: address, readiness and smoke test, wherever it runs."""

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

PATIENCE = 120.0  # seconds to start, reload or answer: a busy machine is not a failure
LOG_LINES = 15  # log lines quoted in an error
MAX_CHARACTERS = 500  # of a response quoted in an error

JsonRow = dict[str, Any]


@dataclass(frozen=True)
class Deployment:
    """A running deployment that passed its smoke test."""

    version: str  # the version's number in the registry
    url: str  # address of the service
    difference: float  # largest difference between its predictions and the offline ones; see `smoke`


def url(settings: Settings) -> str:
    """Return the address of the service as `http://HOST:PORT`, without a trailing slash."""
    return f"http://{settings.host}:{settings.port}"


def connect(settings: Settings) -> httpx.Client:
    """Return a client of the service, with an API key if the service requires one."""
    headers = {"X-API-Key": settings.keys[0]} if settings.keys else {}
    return httpx.Client(base_url=url(settings), headers=headers, timeout=PATIENCE, trust_env=False)


def require_free_port(settings: Settings) -> None:
    """Raise a `UserError` if another program listens on the service's port."""
    with contextlib.closing(socket.socket()) as probe:
        if probe.connect_ex((settings.host, settings.port)) == 0:
            raise UserError(
                f"Port {settings.port} of {settings.host} is in use: stop the program that uses it "
                f"(`make stop` if it is this service), or set {PREFIX}PORT to another port."
            )


def wait_until_ready(
    settings: Settings,
    wait_seconds: float,
    log: Callable[[], str],
    ended: Callable[[], str] = lambda: "",
) -> None:
    """Wait until the service's readiness probe succeeds; raise a UserError with its log otherwise."""
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
    """Convert rows to the JSON values that a client would send."""
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
    """Raw rows and expected predictions for the smoke test."""

    rows: Sequence[Mapping[str, Any]]  # raw rows as a client would send them in JSON
    predictions: Sequence[Sequence[float]]  # the numbers of each row's prediction, computed offline
    digest: str = ""  # of the artifact that must answer; any if empty


def smoke(settings: Settings, expected: SmokeRows) -> float:
    """Post raw rows as a client would, and return the largest difference from the offline predictions.

    Differences are relative for predictions above 1. Rows whose history the service has dropped, for example
    if it serves an old version, are posted but not compared: the version checked them against its own history
    when it was loaded.
    """
    address, rows, predictions = url(settings), expected.rows, expected.predictions
    try:
        with connect(settings) as client:
            _served_model(client, address, expected.digest)
            response = client.post("/predict", json={"rows": list(rows)}).raise_for_status()
            answers = [numbers_in(one) for one in response.json()["predictions"]]
            # Asked again: what was dropped before the answers came is not compared.
            model = _served_model(client, address, expected.digest)
    except httpx.HTTPStatusError as error:
        reason = f"{error.response.status_code}, {error.response.text[:MAX_CHARACTERS]}"
        if error.response.status_code == httpx.codes.UNAUTHORIZED:
            reason = f"set {PREFIX}API_KEYS to one of its API keys"
        raise UserError(f"The smoke test was refused by {address}: {reason}") from error
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise UserError(f"The smoke test got no answer from {address}: {error}.") from error
    if not len(answers) == len(predictions) > 0:
        raise UserError(f"The smoke test posted {len(predictions)} rows and got {len(answers)} answers.")
    compared = [index for index, row in enumerate(rows) if _has_history(row, model)]
    online = np.array([answers[index] for index in compared], dtype=np.float64)
    offline = np.array([predictions[index] for index in compared], dtype=np.float64)
    worst = float((np.abs(online - offline) / np.maximum(1, np.abs(offline))).max(initial=0))
    allowed = min(SINGLE_TOLERANCE, model.get("tolerance", TOLERANCE))  # a model may be in single precision
    if not worst <= allowed:
        raise UserError(
            f"The smoke test failed: answers differ by up to {worst:.2g} from the offline predictions."
        )
    return worst


def _served_model(client: httpx.Client, address: str, digest: str) -> dict[str, Any]:
    """Return the service's description of its model; raise a `UserError` if it serves another artifact."""
    model: dict[str, Any] = client.get("/model").raise_for_status().json()
    if digest and model["digest"] != digest:
        raise UserError(
            f"{address} serves version {model['version']} ({model['digest'][:12]}) instead of the "
            f"artifact {digest[:12]}: build an image with that artifact, or name one."
        )
    return model


def _has_history(row: Mapping[str, Any], model: Mapping[str, Any]) -> bool:
    """Return whether the service still holds the history that a row's features need."""
    if not (forgotten := model.get("forgotten", 0)):  # epoch seconds up to which history was dropped
        return True
    decision = model["contract"]["decision"]
    at: int = epoch(datetime.fromisoformat(row[decision["time_column"]]))
    reach = round((decision["hours_before"] + model["reach_hours"]) * HOUR)
    # One day of margin: another worker process may have dropped more.
    return bool(at - reach >= forgotten + DAY)
