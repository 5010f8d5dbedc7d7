"""Simulated client: sends outcomes in the order they became known and requests decisions as they are due."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, groupby
from operator import itemgetter
from typing import Any

import httpx
import msgspec
import numpy as np
import pandas as pd

from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.data.event_tables import known_at
from fivestage.deployment.service_client import JsonRow, connect, json_rows, url
from fivestage.features.stores import HOUR
from fivestage.serving.service_settings import Settings


@dataclass
class Exchange:
    """Counts of simulated traffic: requests, failed requests and rows answered."""

    requests: int = 0
    failed: int = 0
    rows: int = 0

    def send(self, client: httpx.Client, path: str, name: str, rows: Sequence[JsonRow], size: int) -> None:
        """Post rows under a name in batches of at most `size`, and count the requests."""
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            answered = _post(client, path, {name: batch})
            self.requests += 1
            self.failed += not answered
            self.rows += len(batch) * (answered and name == "rows")


def report_outcomes(
    settings: Settings, events: Mapping[str, pd.DataFrame], contract: Contract, start: int, end: int
) -> Exchange:
    """Send the events that become known in [start, end) (epoch seconds), in the order in which they do.

    They may be sent early: features of a decision ignore events that become known after it.
    """
    outcomes: list[tuple[int, JsonRow]] = []
    for kind, event in contract.events.items():
        known = known_at(event, events[kind])
        inside = (known >= start) & (known < end)
        rows = json_rows(events[kind][inside], event.columns)
        outcomes += [(at, {"kind": kind} | row) for at, row in zip(known[inside].tolist(), rows, strict=True)]
    outcomes.sort(key=itemgetter(0))
    exchange = Exchange()
    with _client(settings) as client:
        in_order = [event for _, event in outcomes]
        exchange.send(client, "/outcomes", "events", in_order, contract.service.max_batch)
    return exchange


def request_decisions(
    settings: Settings, rows: pd.DataFrame, contract: Contract, start: int, end: int
) -> Exchange:
    """Request the decisions whose `decision_at` is in [start, end) (epoch seconds), in hourly batches."""
    due = rows[(rows["decision_at"] >= start) & (rows["decision_at"] < end)].sort_values(
        "decision_at", kind="stable"
    )
    hours = (due["decision_at"].to_numpy(dtype=np.int64) // HOUR).tolist()
    exchange = Exchange()
    with _client(settings) as client:
        hourly = groupby(zip(hours, json_rows(due, contract.columns), strict=True), key=itemgetter(0))
        for _, decisions in hourly:
            same_hour = [row for _, row in decisions]
            exchange.send(client, "/predict", "rows", same_hour, contract.service.max_batch)
    return exchange


def time_rows(settings: Settings, rows: pd.DataFrame, contract: Contract) -> list[float]:
    """Post rows one at a time over one connection, and return the latency of each in milliseconds."""
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
    """Post rows one at a time in the background, repeatedly, until the block ends; yield the counts."""
    count, stopped = Exchange(), threading.Event()

    def post_rows() -> None:
        with _client(settings) as client:
            for row in cycle(json_rows(rows, contract.columns)):
                count.failed += not _post(client, "/predict", row)
                count.requests += 1
                if stopped.is_set():
                    return

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(post_rows)
        try:
            yield count
        finally:
            stopped.set()
        running.result()


def _client(settings: Settings) -> httpx.Client:
    client = connect(settings)
    client.headers["Content-Type"] = "application/json"
    return client


def _post(client: httpx.Client, path: str, body: Mapping[str, Any]) -> bool:
    try:
        return client.post(path, content=msgspec.json.encode(body)).is_success
    except httpx.HTTPError:
        return False
