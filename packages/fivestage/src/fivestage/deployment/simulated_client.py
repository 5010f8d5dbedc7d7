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
from fivestage.contract.contract import Column, Contract
from fivestage.data.event_tables import known_at
from fivestage.deployment.service_client import PATIENCE, JsonRow, headers, json_rows, url
from fivestage.features.stores import HOUR
from fivestage.serving.service_settings import Settings


@dataclass
class Exchange:
    """Simulated traffic: prediction requests, failed requests of any kind, rows answered."""

    requests: int = 0
    failed: int = 0
    rows: int = 0


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
    outcomes: dict[int, list[JsonRow]] = defaultdict(list)  # by hour
    for kind, event in contract.events.items():
        known = known_at(event, events[kind])
        inside = (known >= start) & (known < end)
        for hour, row in _hourly(events[kind][inside], event.columns, known[inside]):
            outcomes[hour].append({"kind": kind} | row)
    decisions: dict[int, list[JsonRow]] = defaultdict(list)
    due = rows[(rows["decision_at"] >= start) & (rows["decision_at"] < end)]
    for hour, row in _hourly(due, contract.columns, due["decision_at"].to_numpy(dtype=np.int64)):
        decisions[hour].append(row)
    exchange = Exchange()
    with _client(settings) as client:
        for hour in sorted({*outcomes, *decisions}):
            for batch in _batches(outcomes[hour], contract.service.max_batch):
                exchange.failed += not _post(client, "/outcomes", {"events": batch})
            for batch in _batches(decisions[hour], contract.service.max_batch):
                answered = _post(client, "/predict", {"rows": batch})
                exchange.requests += 1
                exchange.failed += not answered
                exchange.rows += len(batch) * answered
    return exchange


def time_rows(settings: Settings, rows: pd.DataFrame, contract: Contract) -> list[float]:
    """Post one row after another over one connection.

    Args:
        settings: Where the service answers.
        rows: What to post.
        contract: Of these rows.

    Returns:
        Milliseconds of each request.

    Raises:
        UserError: When one is not answered.
    """
    milliseconds = []
    with _client(settings) as client:
        for row in json_rows(rows, contract.columns):
            before = time.perf_counter()
            if not _post(client, "/predict", row):
                raise UserError(f"The service at {url(settings)} does not answer.")
            milliseconds.append((time.perf_counter() - before) * 1000)
    return milliseconds


@contextmanager
def background_requests(settings: Settings, rows: pd.DataFrame, contract: Contract) -> Iterator[Exchange]:
    """Post one row after another, over and over, for as long as the block runs.

    Args:
        settings: Where the service answers.
        rows: What to post.
        contract: Of these rows.

    Yields:
        The count of the requests so far.
    """
    count, over = Exchange(), threading.Event()

    def post_rows() -> None:
        with _client(settings) as client:
            for row in cycle(json_rows(rows, contract.columns)):
                count.failed += not _post(client, "/predict", row)
                count.requests += 1
                if over.is_set():
                    return

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(post_rows)
        try:
            yield count
        finally:
            over.set()
        running.result()


def _client(settings: Settings) -> httpx.Client:
    return httpx.Client(base_url=url(settings), headers=headers(settings), timeout=PATIENCE)


def _hourly(
    frame: pd.DataFrame, columns: Mapping[str, Column], at: NDArray[np.int64]
) -> Iterator[tuple[int, JsonRow]]:
    return zip((at // HOUR).tolist(), json_rows(frame, columns), strict=True)


def _batches(rows: Sequence[JsonRow], size: int) -> Iterator[Sequence[JsonRow]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _post(client: httpx.Client, path: str, body: Mapping[str, Any]) -> bool:
    try:
        return client.post(path, json=body).is_success
    except httpx.HTTPError:
        return False
