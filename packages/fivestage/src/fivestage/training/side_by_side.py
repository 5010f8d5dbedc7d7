"""Runs independent fits in parallel, each on a single thread."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

from fivestage.common.threads import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return the result of `work` for each item, in order; as many run at a time as the process has cores.

    Each runs on a single OpenMP and BLAS thread: a fit on two threads that wait for each other takes as long,
    and several times the CPU if cores are shared. Python threads suffice, as fits release the GIL.
    """

    def single_threaded(item: Item) -> Result:
        with threadpool_limits(1, "openmp"):  # applies to this Python thread only
            return work(item)

    workers = min(available_cores(), len(items))
    if workers <= 1:
        return [single_threaded(item) for item in items]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        # Later folds and larger feature sets take longest: started first, none of them runs alone at the end.
        return list(pool.map(single_threaded, items[::-1]))[::-1]
