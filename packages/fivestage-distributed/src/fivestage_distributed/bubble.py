"""The bubble of pipelines, by torch's schedules over stages that sleep: their cores need not exist."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import (
    PipelineStage,
    Schedule1F1B,
    ScheduleGPipe,
    ScheduleInterleaved1F1B,
)

from fivestage_distributed.processes import run_processes

FORWARD = 0.03  # seconds of a microbatch in one process; the backward pass takes twice as long
SCHEDULES: dict[str, tuple[Any, int]] = {  # with the stages of one process
    "GPipe": (ScheduleGPipe, 1),
    "1F1B": (Schedule1F1B, 1),
    "interleaved 1F1B": (ScheduleInterleaved1F1B, 2),
}


class _Sleep(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, seconds: float) -> Tensor:
        context.seconds = seconds
        time.sleep(seconds)
        return x.clone()

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        time.sleep(2 * context.seconds)
        return gradients[0], None


class SleepingStage(nn.Module):
    """A stage that takes its time and computes next to nothing."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        slept: Tensor = _Sleep.apply(x * self.scale, self.seconds)  # type: ignore[no-untyped-call]
        return slept


@dataclass(frozen=True)
class Bubble:
    """A schedule's step times, and the bubble that they show.

    Args:
        schedule: its name.
        processes: p, of the pipeline.
        chunks: v, stages of each.
        seconds: of a step, by number of microbatches.
    """

    schedule: str
    processes: int
    chunks: int
    seconds: dict[int, float]

    @property
    def expected(self) -> float:
        """Microbatches' time in which a process waits: (p - 1) / v (Narayanan et al. 2021)."""
        return (self.processes - 1) / self.chunks

    @property
    def fitted(self) -> float:
        """The same of a line through the measured times: what no microbatch accounts for, in microbatches."""
        slope, rest = np.polyfit(list(self.seconds), list(self.seconds.values()), 1)
        return float(rest / slope)

    def share(self, microbatches: int) -> float:
        """The share of a step that the formula leaves idle."""
        return self.expected / (self.expected + microbatches)


def measure_bubble(schedule: str, processes: int, repeats: int = 3) -> Bubble:
    """Time steps of a schedule with p, 2p and 4p microbatches."""
    found = run_processes(processes, _measure, schedule, repeats)
    seconds = {count: max(one[count] for one in found) for count in found[0]}
    return Bubble(schedule, processes, SCHEDULES[schedule][1], seconds)


def _measure(schedule: str, repeats: int) -> dict[int, float]:
    kind, chunks = SCHEDULES[schedule]
    rank, processes = dist.get_rank(), dist.get_world_size()
    count = processes * chunks
    found = {}
    for microbatches in (processes, 2 * processes, 4 * processes):
        sleeping = {number: SleepingStage(0.0) for number in range(rank, count, processes)}
        stages: list[Any] = [
            PipelineStage(one, number, count, torch.device("cpu")) for number, one in sleeping.items()
        ]
        planned = kind(stages if chunks > 1 else stages[0], n_microbatches=microbatches, loss_fn=_loss)
        data = torch.ones(microbatches, 1)
        times = []
        for _ in range(repeats + 1):  # the first infers shapes, and sleeps not at all
            dist.barrier()
            start = time.perf_counter()
            planned.step(
                *([data] if rank == 0 else []), target=data if rank == processes - 1 else None, losses=[]
            )
            times.append(time.perf_counter() - start)
            for one in sleeping.values():
                one.seconds = FORWARD / chunks
        found[microbatches] = min(times[1:])
    return found


def _loss(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).mean()
