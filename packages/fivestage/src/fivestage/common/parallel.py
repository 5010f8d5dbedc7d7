"""Where independent pieces of work run: in this process, in several of this machine, or on a Dask cluster."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

from fivestage.common.errors import UserError

VARIABLE = "FIVESTAGE_WORKERS"  # a number of processes, or a scheduler such as tcp://scheduler:8786

Item = TypeVar("Item")
Result = TypeVar("Result")


def mapped(
    work: Callable[[Item], Result], items: Iterable[Item], workers: str | None = None
) -> Iterator[Result]:
    """What `work` returns for each item, in order; `workers` is by default what the environment says.

    Work and items travel to other processes, so both must be picklable, and what they name (files, buckets)
    must be the same there.

    Raises:
        UserError: when there are no such workers.
    """
    chosen = os.environ.get(VARIABLE, "") if workers is None else workers
    if chosen in ("", "1"):
        yield from map(work, items)
        return
    with _executor(chosen) as executor:
        yield from executor.map(work, items)


@contextmanager
def _executor(workers: str) -> Iterator[Executor]:
    if workers.isdecimal():
        fresh = get_context("spawn")  # fork and threads do not mix
        with ProcessPoolExecutor(int(workers), fresh) as executor:
            yield executor
        return
    if "://" not in workers:
        raise UserError(
            f"{VARIABLE} is {workers!r}: name a number of processes, or a scheduler such as tcp://scheduler:8786."
        )
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(
            f"{VARIABLE} names a Dask scheduler; Dask is missing: .venv/bin/uv pip install --group cluster"
        ) from error
    with _connected(Client, workers) as client:
        yield client.get_executor(pure=False)


def _connected(client: Any, address: str) -> Any:
    try:
        return client(address, timeout="20s")
    except OSError as error:
        raise UserError(f"{VARIABLE}: no Dask scheduler answers at {address}.") from error
