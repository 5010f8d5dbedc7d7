"""Independent fits side by side, one thread each."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

from fivestage.common.threads import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """What `work` returns for each item, in order; as many at a time as the process has cores.

    Each runs on one thread of OpenMP and BLAS: one fit over two threads that wait for each other took as
    long, and several times the CPU where the cores are shared. Threads suffice, as fits run outside Python.
    """

    def alone(item: Item) -> Result:
        with threadpool_limits(1, "openmp"):  # this thread's own setting
            return work(item)

    workers = min(available_cores(), len(items))
    if workers <= 1:
        return [alone(item) for item in items]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        # Later folds and larger sets of features take longest: begun first, none is left to run alone.
        return list(pool.map(alone, items[::-1]))[::-1]
