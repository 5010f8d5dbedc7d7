"""Compares the losses of every parallel layout with those of one process, and the memory it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor

from fivestage_distributed.configuration import ModelConfig, ParallelConfig, TrainingConfig
from fivestage_distributed.processes import run_processes
from fivestage_distributed.training import Trained, drop_gradient_sync, toy_sequences, train

MODEL = ModelConfig(vocabulary=64, context=32, layers=4, heads=4, width=32)
STEPS, BATCH = 60, 16
LAYOUTS: dict[str, ParallelConfig] = {
    "DDP, 2 processes": ParallelConfig(dp=2),
    "DDP, 4 processes": ParallelConfig(dp=4, microbatches=2),
    "ZeRO-1, 2 processes": ParallelConfig(dp=2, zero=1),
    "ZeRO-1, 4 processes": ParallelConfig(dp=4, zero=1),
    "ZeRO-2, 2 processes": ParallelConfig(dp=2, zero=2, microbatches=2),
    "ZeRO-2, 4 processes": ParallelConfig(dp=4, zero=2),
    "ZeRO-3, 2 processes": ParallelConfig(dp=2, zero=3),
    "ZeRO-3, 4 processes": ParallelConfig(dp=4, zero=3),
    "HSDP, 2 replicas of 2": ParallelConfig(dp=4, zero=3, replicas=2),
    "tensor parallel, 2 processes": ParallelConfig(tp=2),
    "tensor parallel, 4 processes": ParallelConfig(tp=4),
    "tensor parallel x FSDP, 2 x 2": ParallelConfig(tp=2, dp=2, zero=3),
    "GPipe, 2 stages": ParallelConfig(pp=2, schedule="gpipe", microbatches=4),
    "GPipe, 4 stages": ParallelConfig(pp=4, schedule="gpipe", microbatches=4),
    "1F1B, 2 stages": ParallelConfig(pp=2, schedule="1f1b", microbatches=4),
    "1F1B, 4 stages": ParallelConfig(pp=4, schedule="1f1b", microbatches=8),
    "interleaved 1F1B, 2 x 2 stages": ParallelConfig(pp=2, schedule="interleaved", microbatches=4),
    "interleaved 1F1B, 4 x 2 stages": ParallelConfig(pp=4, schedule="interleaved", microbatches=4),
    "pipeline x FSDP, 2 x 2": ParallelConfig(pp=2, dp=2, zero=2, schedule="1f1b", microbatches=4),
    "pipeline x DDP, 2 x 2": ParallelConfig(pp=2, dp=2, schedule="1f1b", microbatches=4),
}

CONTROL = "DDP, 2 processes, without the sync of gradients"


@dataclass(frozen=True)
class HeldBytes:
    """Bytes that a process holds after a step."""

    parameters: int
    gradients: int
    optimizer: int


def held_bytes(trained: Trained) -> HeldBytes:
    """Count the bytes of parameters, gradients and optimizer state in this process."""
    parameters = list(trained.part.parameters().values())
    optimizer = trained.optimizer
    own = optimizer.optim if isinstance(optimizer, ZeroRedundancyOptimizer) else optimizer
    moments = [
        value
        for state in own.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.dim()
    ]
    gradients = [one.grad for one in parameters if one.grad is not None]
    return HeldBytes(*(sum(map(_bytes, tensors)) for tensors in (parameters, gradients, moments)))


def _bytes(tensor: torch.Tensor) -> int:
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return local.numel() * local.element_size()


def curve(
    parallel: ParallelConfig, steps: int = STEPS, *, layers: int = MODEL.layers, synced: bool = True
) -> tuple[list[float], HeldBytes]:
    """Train a layout on the toy sequences, in a process group; return losses and this process's bytes."""
    training = TrainingConfig(steps=steps, batch=BATCH, parallel=parallel)
    data = toy_sequences(MODEL.vocabulary, MODEL.context)
    begin = None if synced else drop_gradient_sync
    model = MODEL.model_copy(update={"layers": layers})
    trained = train(model, training, data, torch.device("cpu"), begin=begin)
    return trained.losses, held_bytes(trained)


def difference(losses: list[float], expected: list[float]) -> float:
    """Return the largest relative difference between two loss curves."""
    return float(np.max(np.abs(np.array(losses) / np.array(expected) - 1)))


@dataclass(frozen=True)
class LayoutComparison:
    """A layout compared with training in one process."""

    layout: str  # name of the layout
    processes: int  # number of processes
    error: float  # largest relative difference of any loss
    held: tuple[HeldBytes, ...]  # bytes that each process holds, by rank


def compare(
    expected: list[float], layouts: Sequence[str] = (*LAYOUTS, CONTROL)
) -> Iterator[LayoutComparison]:
    """Train layouts and compare them; layouts with the same number of processes share a process group."""
    by_count: dict[int, list[str]] = {}
    for name in layouts:
        by_count.setdefault(_parallel(name).processes, []).append(name)
    for count, names in by_count.items():
        by_rank = run_processes(count, _curves, names, len(expected))
        for name, ranks in zip(names, zip(*by_rank, strict=True), strict=True):
            layers = _layers(_parallel(name))
            one_process = (
                expected if layers == MODEL.layers else train_in_one_process(len(expected), layers)[0]
            )
            worst = max(difference(losses, one_process) for losses, _ in ranks)
            yield LayoutComparison(name, count, worst, tuple(one for _, one in ranks))


def train_in_one_process(steps: int = STEPS, layers: int = MODEL.layers) -> tuple[list[float], HeldBytes]:
    """Train in one process; return its losses and its bytes."""
    return run_processes(1, partial(curve, layers=layers), ParallelConfig(), steps)[0]  # type: ignore[no-any-return]


def _curves(names: list[str], steps: int) -> list[tuple[list[float], HeldBytes]]:
    layouts = ((_parallel(name), name != CONTROL) for name in names)
    return [curve(one, steps, layers=_layers(one), synced=synced) for one, synced in layouts]


def _layers(parallel: ParallelConfig) -> int:
    """Return the number of layers, at least one for each stage."""
    return max(MODEL.layers, parallel.pp * parallel.chunks)


def _parallel(name: str) -> ParallelConfig:
    return LAYOUTS["DDP, 2 processes" if name == CONTROL else name]
