"""Measures pipeline bubbles with torch's schedules; the stages sleep, so they need no cores of their own."""

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

FORWARD = 0.03  # seconds of a microbatch's forward pass in one process; backward takes twice as long
SCHEDULES: dict[str, tuple[Any, int]] = {  # with the number of stages per process
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
    """A stage that sleeps instead of computing."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        slept: Tensor = _Sleep.apply(x * self.scale, self.seconds)  # type: ignore[no-untyped-call]
        return slept


@dataclass(frozen=True)
class Bubble:
    """Measured step times of a schedule, and its bubble."""

    schedule: str  # name of the schedule
    processes: int  # p, processes of the pipeline
    chunks: int  # v, stages of each process
    seconds: dict[int, float]  # seconds of a step, by number of microbatches

    @property
    def expected(self) -> float:
        """The idle time of a process in microbatches by the formula, (p - 1) / v (Narayanan et al. 2021)."""
        return (self.processes - 1) / self.chunks

    @property
    def fitted(self) -> float:
        """The measured idle time in microbatches: intercept over slope of a line through the step times."""
        slope, intercept = np.polyfit(list(self.seconds), list(self.seconds.values()), 1)
        return float(intercept / slope)

    def share(self, microbatches: int) -> float:
        """Return the idle share of a step by the formula."""
        return self.expected / (self.expected + microbatches)


def measure_bubble(schedule: str, processes: int, repeats: int = 3) -> Bubble:
    """Time steps of a schedule with p, 2p and 4p microbatches."""
    by_rank = run_processes(processes, _measure, schedule, repeats)
    seconds = {count: max(times[count] for times in by_rank) for count in by_rank[0]}
    return Bubble(schedule, processes, SCHEDULES[schedule][1], seconds)


def _measure(schedule: str, repeats: int) -> dict[int, float]:
    kind, chunks = SCHEDULES[schedule]
    rank, processes = dist.get_rank(), dist.get_world_size()
    count = processes * chunks
    fastest = {}
    for microbatches in (processes, 2 * processes, 4 * processes):
        sleeping = {number: SleepingStage(0.0) for number in range(rank, count, processes)}
        stages: list[Any] = [
            PipelineStage(one, number, count, torch.device("cpu")) for number, one in sleeping.items()
        ]
        pipeline = kind(stages if chunks > 1 else stages[0], n_microbatches=microbatches, loss_fn=_loss)
        data = torch.ones(microbatches, 1)
        times = []
        for _ in range(repeats + 1):  # the first step infers shapes, and does not sleep
            dist.barrier()
            start = time.perf_counter()
            pipeline.step(
                *([data] if rank == 0 else []), target=data if rank == processes - 1 else None, losses=[]
            )
            times.append(time.perf_counter() - start)
            for one in sleeping.values():
                one.seconds = FORWARD / chunks
        fastest[microbatches] = min(times[1:])
    return fastest


def _loss(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).mean()
