"""Run independent tasks in this process, in several local processes, or on a Dask cluster."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

from fivestage.common.errors import UserError

VARIABLE = "FIVESTAGE_WORKERS"  # a number of processes, or the address of a Dask scheduler

Item = TypeVar("Item")
Result = TypeVar("Result")


def mapped(
    work: Callable[[Item], Result], items: Iterable[Item], workers: str | None = None
) -> Iterator[Result]:
    """Yield `work(item)` for each item, in order; `workers` defaults to FIVESTAGE_WORKERS.

    `work` and the items are sent to other processes, so they must be picklable, and files and buckets that
    they name must be reachable from there.

    Raises:
        UserError: when `workers` is neither a number nor a scheduler that answers.
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
        context = get_context("spawn")  # forking a process that has threads is unsafe
        with ProcessPoolExecutor(int(workers), context) as executor:
            yield executor
        return
    if "://" not in workers:
        raise UserError(
            f"{VARIABLE} is {workers!r}: set it to a number of processes, or a scheduler such as tcp://scheduler:8786."
        )
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(
            f"{VARIABLE} names a Dask scheduler, but Dask is not installed: "
            "run .venv/bin/uv pip install --group cluster"
        ) from error
    try:
        client: Any = Client(workers, timeout="20s")
    except OSError as error:
        raise UserError(f"{VARIABLE}: no Dask scheduler answers at {workers}.") from error
    with client:
        yield client.get_executor(pure=False)
