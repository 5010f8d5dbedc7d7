"""Local processes: a process group that runs one function, and simulated nodes that tests can kill."""

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
    """Run a function in a group of local processes that communicate with gloo.

    Args:
        count: Number of processes.
        function: A function at module level, called in each process once the process group exists.
        arguments: Its arguments, which must be picklable.

    Returns:
        The return value of each process, by rank.

    Raises:
        torch.multiprocessing.ProcessRaisedException: If a process fails.
    """
    # Import torch only once.
    multiprocessing.set_forkserver_preload(["fivestage_distributed.equality", "torch.distributed.pipelining"])
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
        result = function(*arguments)
    finally:
        dist.destroy_process_group()
    (Path(folder) / str(rank)).write_bytes(pickle.dumps(result))


@dataclass
class LocalNodes:
    """Several agents of `torchrun` on this machine, each of which simulates a node."""

    folder: Path  # folder for settings, data, checkpoints, losses and logs
    nodes: int  # number of nodes
    port: int  # port of the rendezvous, which node 0 hosts
    pause: float = 0.0  # seconds to sleep after each step, so that it can be killed in time
    processes: int = 1
    agents: dict[int, psutil.Popen] = field(default_factory=dict)

    def prepare(self, config: RunConfig, data: Sequences) -> None:
        """Write the settings and data for the workers."""
        self.processes = config.training.parallel.processes // self.nodes
        prepare(self.folder, config, data.inputs, data.targets)

    def start(self, index: int) -> None:
        """Start a node, or replace one that was killed."""
        node = Node(index, self.nodes, "localhost", self.port)
        arguments = [sys.executable, "-m", "torch.distributed.run"]
        arguments += torchrun_arguments(node, self.processes, RESTARTS)
        arguments += WORKER
        arguments += [str(self.folder / name) for name in ("run.yaml", "sequences.npz", "output")]
        with (self.folder / f"node-{index}.log").open("ab") as log:
            self.agents[index] = psutil.Popen(
                [*arguments, f"--pause={self.pause}"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=torchrun_environment(),
            )

    def workers(self, index: int) -> list[psutil.Process]:
        """Return the processes that a node's agent has started."""
        children: list[psutil.Process] = self.agents[index].children(recursive=True)
        return children

    def kill_worker(self, index: int) -> None:
        """Kill one worker of a node with SIGKILL."""
        self.workers(index)[0].kill()

    def kill_node(self, index: int) -> None:
        """Kill a node's agent and all its processes with SIGKILL."""
        for process in [self.agents[index], *self.workers(index)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.agents[index].wait()

    def losses(self) -> list[dict[str, float]]:
        """Read the log of the training."""
        return losses_of(self.folder / "output")

    def wait_until(self, reached: Callable[[], bool], seconds: float) -> None:
        """Wait until a condition holds, at most the given seconds."""
        end = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > end:
                raise TimeoutError(f"The condition did not hold within {seconds:g} seconds.\n{self._logs()}")
            time.sleep(POLL)

    def wait_for_step(self, step: int, seconds: float = 120) -> None:
        """Wait until the last logged step is at least `step`."""
        self.wait_until(lambda: any(line["step"] >= step for line in self.losses()[-1:]), seconds)

    def finish(self, seconds: float = 180) -> None:
        """Wait until all nodes have ended."""
        self.wait_until(lambda: all(one.poll() is not None for one in self.agents.values()), seconds)
        if any(one.returncode for one in self.agents.values()):
            raise RuntimeError(f"A node failed.\n{self._logs()}")

    def _logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-2_000:] for path in self.folder.glob("node-*.log"))


@contextlib.contextmanager
def local_nodes(nodes: LocalNodes, config: RunConfig, data: Sequences) -> Iterator[LocalNodes]:
    """Start all nodes; on exit, kill those that are still running."""
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
    """Return the largest relative error of any logged loss; infinity if a step is missing."""
    if {round(line["step"]) for line in lines} != set(range(len(expected))):
        return float("inf")
    return max(abs(line["loss"] / expected[round(line["step"])] - 1) for line in lines)


def free_port() -> int:
    """Return a loopback port that is free now; another process may take it before it is used."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processor_seconds() -> float:
    """Return the CPU seconds of this process and its ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
