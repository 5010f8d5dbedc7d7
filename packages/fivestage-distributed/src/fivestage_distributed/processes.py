"""Several processes on this machine that run one function, for demonstrations and tests."""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run_processes(count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Run a function in so many processes, joined by gloo over a file.

    Args:
        count: of processes.
        function: of a module; called with the arguments, the group of processes being there.
        arguments: that can be pickled.

    Returns:
        What each process has returned, by rank.

    Raises:
        torch.multiprocessing.ProcessRaisedException: with the error of a process.
    """
    multiprocessing.set_forkserver_preload(
        ["fivestage_distributed.equality", "torch.distributed.pipelining"]
    )  # torch is imported once
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(  # type: ignore[no-untyped-call]
            _join, (count, folder, function, arguments), nprocs=count, start_method="forkserver"
        )
        return [pickle.loads((Path(folder) / str(rank)).read_bytes()) for rank in range(count)]  # noqa: S301 (our own)


def _join(
    rank: int, count: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=count)
    try:
        found = function(*arguments)
    finally:
        dist.destroy_process_group()
    (Path(folder) / str(rank)).write_bytes(pickle.dumps(found))
