"""Processes of this machine: several that run one function, and nodes that are killed as a cluster would."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from fivestage_distributed.configuration import RunConfig
from fivestage_distributed.launch import (
    WORKER,
    Node,
    losses_of,
    prepare,
    torchrun_arguments,
    torchrun_environment,
)
from fivestage_distributed.training import Sequences

RESTARTS = 5
POLL = 0.02  # seconds


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


@dataclass
class LocalNodes:
    """Agents of `torchrun` on this machine, each of which stands for a node.

    Args:
        folder: of the settings, the data, the checkpoints, the losses and the logs.
        nodes: how many.
        port: of the rendezvous, which node 0 holds.
        pause: seconds that each step sleeps, so that it can be killed in time.
    """

    folder: Path
    nodes: int
    port: int
    pause: float = 0.0
    processes: int = 1
    agents: dict[int, psutil.Popen] = field(default_factory=dict)

    def prepare(self, config: RunConfig, data: Sequences) -> None:
        """Write what the workers read."""
        self.processes = config.training.parallel.processes // self.nodes
        prepare(self.folder, config, data.inputs, data.targets)

    def start(self, index: int) -> None:
        """Start a node, or another one in its place."""
        node = Node(index, self.nodes, "localhost", self.port)
        words = [sys.executable, "-m", "torch.distributed.run"]
        words += torchrun_arguments(node, self.processes, RESTARTS)
        words += WORKER
        words += [str(self.folder / name) for name in ("run.yaml", "sequences.npz", "output")]
        with (self.folder / f"node-{index}.log").open("ab") as log:
            self.agents[index] = psutil.Popen(
                [*words, f"--pause={self.pause}"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=torchrun_environment(),
            )

    def workers(self, index: int) -> list[psutil.Process]:
        """The processes that a node's agent has started."""
        found: list[psutil.Process] = self.agents[index].children(recursive=True)
        return found

    def kill_worker(self, index: int) -> None:
        """`kill -9` of one worker."""
        self.workers(index)[0].kill()

    def kill_node(self, index: int) -> None:
        """`kill -9` of a node's agent and of all that it has started."""
        doomed = [self.agents[index], *self.workers(index)]
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.agents[index].wait()

    def losses(self) -> list[dict[str, float]]:
        """The lines that have been logged so far."""
        return losses_of(self.folder / "output")

    def wait_until(self, reached: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition."""
        end = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > end:
                raise TimeoutError(f"Not after {seconds:g} seconds.\n{self._logs()}")
            time.sleep(POLL)

    def wait_for_step(self, step: int, seconds: float = 120) -> None:
        """Until a step has been done, for the first time or again."""
        self.wait_until(lambda: any(line["step"] >= step for line in self.losses()[-1:]), seconds)

    def finish(self, seconds: float = 180) -> None:
        """Until all nodes have ended."""
        self.wait_until(lambda: all(one.poll() is not None for one in self.agents.values()), seconds)
        if any(one.returncode for one in self.agents.values()):
            raise RuntimeError(f"A node has failed.\n{self._logs()}")

    def _logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-2_000:] for path in self.folder.glob("node-*.log"))


@contextlib.contextmanager
def local_nodes(nodes: LocalNodes, config: RunConfig, data: Sequences) -> Iterator[LocalNodes]:
    """Start all nodes; at the end, whatever happens, nothing of them runs on."""
    nodes.prepare(config, data)
    try:
        for index in range(nodes.nodes):
            nodes.start(index)
        yield nodes
    finally:
        for index, agent in nodes.agents.items():
            if agent.poll() is None:
                nodes.kill_node(index)


def disturbed_difference(lines: list[dict[str, float]], expected: list[float]) -> float:
    """The largest relative error of any loss of a training, those of repeated steps included."""
    if {round(line["step"]) for line in lines} != set(range(len(expected))):
        return float("inf")
    return max(abs(line["loss"] / expected[round(line["step"])] - 1) for line in lines)


def free_port() -> int:
    """A port of loopback that nobody listens on now; one that is asked for twice may differ."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processor_seconds() -> float:
    """CPU seconds of this process and of its ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
