"""A simulated client: it sends outcomes when they became known, and requests decisions when they are due."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import httpx
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fivestage.common.errors import UserError
from fivestage.contract.contract import Column, Contract, TimestampColumn
from fivestage.data.event_tables import known_at
from fivestage.deployment.service_client import headers, url
from fivestage.features.stores import HOUR
from fivestage.serving.settings import Settings

Wire = dict[str, Any]


@dataclass(frozen=True)
class Exchange:
    """Simulated traffic: prediction requests, failed requests of any kind, rows answered."""

    requests: int
    failed: int
    rows: int


@dataclass
class RequestCount:
    """One-row requests so far, and how many of them failed."""

    requests: int = 0
    failed: int = 0


def wire_rows(frame: pd.DataFrame, columns: Mapping[str, Column]) -> list[Wire]:
    """Rows as a client writes them in JSON: moments in ISO 8601, and null where a value is missing."""
    wire: dict[str, list[Any]] = {}
    for name, column in columns.items():
        values = frame[name]
        if isinstance(column, TimestampColumn):
            known = values.notna().to_numpy()
            moments = values.fillna(0).to_numpy(np.int64).astype("datetime64[s]")
            written = np.char.add(np.datetime_as_string(moments), "Z")
            wire[name] = [one if told else None for one, told in zip(written.tolist(), known, strict=True)]
        else:
            told = values.notna() & (values != "")
            wire[name] = values.astype(object).where(told, None).tolist()
    return [dict(zip(wire, row, strict=True)) for row in zip(*wire.values(), strict=True)]


def feed(
    settings: Settings,
    rows: pd.DataFrame,
    events: Mapping[str, pd.DataFrame],
    contract: Contract,
    start: int,
    end: int,
) -> Exchange:
    """Simulate [start, end) by the hour: send what became known, then request the decisions due.

    Within an hour the order is free: what became known after a decision is not seen by it.

    Args:
        settings: Where the service answers.
        rows: All decisions, with `decision_at` in epoch seconds.
        events: Event tables by kind.
        contract: Columns, events and the largest batch.
        start: The first second of the period.
        end: The first second after it.

    Returns:
        Requests, failures and rows answered.
    """
    told: dict[int, list[Wire]] = defaultdict(list)
    for kind, event in contract.events.items():
        known = known_at(event, events[kind])
        inside = (known >= start) & (known < end)
        for hour, row in _hourly(events[kind][inside], event.columns, known[inside]):
            told[hour].append({"kind": kind} | row)
    asked: dict[int, list[Wire]] = defaultdict(list)
    due = rows[(rows["decision_at"] >= start) & (rows["decision_at"] < end)]
    for hour, row in _hourly(due, contract.columns, due["decision_at"].to_numpy(dtype=np.int64)):
        asked[hour].append(row)
    requests, failed, answered = 0, 0, 0
    with _client(settings) as client:
        for hour in sorted({*told, *asked}):
            for batch in _batches(told[hour], contract.service.max_batch):
                failed += not _post(client, "/outcomes", {"events": batch})
            for batch in _batches(asked[hour], contract.service.max_batch):
                done = _post(client, "/predict", {"rows": batch})
                requests += 1
                failed += not done
                answered += len(batch) * done
    return Exchange(requests, failed, answered)


def time_rows(settings: Settings, rows: pd.DataFrame, contract: Contract) -> list[float]:
    """Milliseconds per one-row request, one after another over one connection.

    Raises:
        UserError: when one is not answered.
    """
    milliseconds = []
    with _client(settings) as client:
        for row in wire_rows(rows, contract.columns):
            before = time.perf_counter()
            if not _post(client, "/predict", row):
                raise UserError(f"The service at {url(settings)} does not answer.")
            milliseconds.append((time.perf_counter() - before) * 1000)
    return milliseconds


@contextmanager
def background_requests(settings: Settings, rows: pd.DataFrame, contract: Contract) -> Iterator[RequestCount]:
    """Request one row after another, over and over, for as long as the block runs."""
    asked, over = RequestCount(), threading.Event()

    def ask() -> None:
        with _client(settings) as client:
            for row in cycle(wire_rows(rows, contract.columns)):
                asked.failed += not _post(client, "/predict", row)
                asked.requests += 1
                if over.is_set():
                    return

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask)
        try:
            yield asked
        finally:
            over.set()
        running.result()


def _client(settings: Settings) -> httpx.Client:
    return httpx.Client(base_url=url(settings), headers=headers(settings), timeout=30)


def _hourly(
    frame: pd.DataFrame, columns: Mapping[str, Column], at: NDArray[np.int64]
) -> Iterator[tuple[int, Wire]]:
    return zip((at // HOUR).tolist(), wire_rows(frame, columns), strict=True)


def _batches(wire: Sequence[Wire], size: int) -> Iterator[Sequence[Wire]]:
    for start in range(0, len(wire), size):
        yield wire[start : start + size]


def _post(client: httpx.Client, path: str, body: Mapping[str, Any]) -> bool:
    try:
        return client.post(path, json=body).is_success
    except httpx.HTTPError:
        return False
