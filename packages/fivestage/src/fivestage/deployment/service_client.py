"""A running service as its deployer sees it, wherever it runs: address, readiness, answers."""

import contextlib
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx
import numpy as np

from fivestage.artifact.predictions import numbers_in
from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.contract.contract import epoch
from fivestage.features.stores import HOUR
from fivestage.serving.settings import PREFIX, Settings

TOLERANCE = 1e-9
TAIL = 15  # lines
REASON = 500  # characters of a refusal


def url(settings: Settings) -> str:
    """Where the service listens."""
    return f"http://{settings.host}:{settings.port}"


def headers(settings: Settings) -> dict[str, str]:
    """What a request needs to be let in."""
    return {"X-API-Key": settings.keys[0]} if settings.keys else {}


def require_free_port(settings: Settings) -> None:
    """Make sure that a service can listen.

    Raises:
        UserError: when something listens there already.
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
    """Return once the service says that it is ready; `ended` says how it has ended, if it has.

    Raises:
        UserError: with the end of its log, when it has ended or takes too long.
    """
    until = time.monotonic() + wait_seconds
    why = "it did not answer"
    while time.monotonic() < until:
        over = ended()
        if over:
            why = over
            break
        try:
            answer = httpx.get(f"{url(settings)}/readyz", timeout=2)
            if answer.status_code == httpx.codes.OK:
                return
            why = answer.json().get("detail", answer.text)
        except (httpx.HTTPError, ValueError):
            why = "it did not answer"
        time.sleep(0.05)
    tail = "\n".join(log().splitlines()[-TAIL:])
    raise UserError(f"The service at {url(settings)} is not ready: {why}. The end of its log:\n{tail}")


def smoke(
    settings: Settings, rows: Sequence[Mapping[str, Any]], forecasts: Sequence[Sequence[float]]
) -> float:
    """Post raw rows as a client would and return the largest difference from the forecasts expected.

    Rows whose past the service has forgotten by now, as it serves a version of long ago, are asked and not
    compared: at loading, the version has shown with its own past that it answers them.

    Raises:
        UserError: when the service does not answer, or answers otherwise.
    """
    try:
        body = {"rows": list(rows)}
        answer = httpx.post(f"{url(settings)}/predict", json=body, headers=headers(settings), timeout=30)
        answer.raise_for_status()
        found = [numbers_in(one) for one in answer.json()["predictions"]]
        served = httpx.get(f"{url(settings)}/model", headers=headers(settings), timeout=30).raise_for_status()
        model = served.json()
        forgotten = model.get("forgotten", 0)
    except httpx.HTTPStatusError as error:
        said = error.response
        raise UserError(
            f"The smoke test was refused by {url(settings)}: {said.status_code}, {said.text[:REASON]}"
        ) from error
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise UserError(f"The smoke test got no answer from {url(settings)}: {error}.") from error
    if not len(found) == len(forecasts) > 0:
        raise UserError(f"The smoke test asked {len(forecasts)} rows and got {len(found)} answers.")
    since = forgotten + DAY  # another of its processes may have forgotten more
    known = [
        place for place, row in enumerate(rows) if not forgotten or _reaches_back_to(row, model) >= since
    ]
    worst = largest_difference([found[place] for place in known], [forecasts[place] for place in known])
    if not worst <= TOLERANCE:
        raise UserError(f"The smoke test failed: answers differ by up to {worst:.2g} from the offline ones.")
    return worst


def _reaches_back_to(row: Mapping[str, Any], model: Mapping[str, Any]) -> int:
    """The earliest moment that a row's features look at, epoch seconds."""
    decision = model["contract"]["decision"]
    at: int = epoch(datetime.fromisoformat(row[decision["time_column"]]))
    at -= round((decision["hours_before"] + model["reach_hours"]) * HOUR)
    return at


def largest_difference(found: Any, expected: Any) -> float:
    """Between numbers, those above one by the share they differ by."""
    one, other = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    return float((np.abs(one - other) / np.maximum(1, np.abs(other))).max(initial=0))
