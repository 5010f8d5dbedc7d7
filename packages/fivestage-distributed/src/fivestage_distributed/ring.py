"""Ring all-reduce with point-to-point sends, and its cost (Patarasuk and Yuan 2009)."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from fivestage_distributed.processes import run_processes

SIZES = tuple(4 * 8**power * 1024 for power in range(5))  # bytes: 4 KiB to 16 MiB
REPEATS = 5


def ring_all_reduce(tensor: Tensor) -> int:
    """Sum a tensor over all processes, in place.

    Each process sends to its right neighbour and receives from its left one. After n - 1 steps of
    reduce-scatter each process has the sum of one of n chunks; n - 1 steps of all-gather distribute the
    sums. So each process sends 2 (n - 1) / n of the tensor, for any number of processes n.

    Args:
        tensor: Contiguous, with the same shape in every process.

    Returns:
        Bytes that this process has sent.
    """
    rank, count = dist.get_rank(), dist.get_world_size()
    right, left = (rank + 1) % count, (rank - 1) % count
    chunks = tensor.view(-1).tensor_split(count)
    sent = 0
    for step in range(2 * (count - 1)):
        outgoing, incoming = chunks[(rank - step) % count], chunks[(rank - step - 1) % count]
        received = torch.empty_like(incoming)
        for request in dist.batch_isend_irecv(
            [dist.P2POp(dist.isend, outgoing, right), dist.P2POp(dist.irecv, received, left)]
        ):
            request.wait()
        if step < count - 1:
            incoming += received
        else:
            incoming.copy_(received)
        sent += outgoing.numel() * outgoing.element_size()
    return sent


@dataclass(frozen=True)
class RingTime:
    """Measured times for one message size."""

    size: int  # bytes of the message
    sent: int  # bytes that each process has sent
    ring: float  # median seconds of the ring
    library: float  # median seconds of `dist.all_reduce`
    error: float  # largest difference between their results


def measure_ring(processes: int, sizes: tuple[int, ...] = SIZES, repeats: int = REPEATS) -> list[RingTime]:
    """Time the ring and `dist.all_reduce` on loopback, for several message sizes."""
    times: list[RingTime] = run_processes(processes, _measure, sizes, repeats)[0]
    return times


def _measure(sizes: tuple[int, ...], repeats: int) -> list[RingTime]:
    measured = []
    for size in sizes:
        generator = torch.Generator().manual_seed(dist.get_rank())
        message = torch.randn(size // 4, generator=generator)
        ring, library = [], []
        for _ in range(repeats):
            by_ring, by_library = message.clone(), message.clone()
            dist.barrier()
            start = time.perf_counter()
            sent = ring_all_reduce(by_ring)
            ring.append(time.perf_counter() - start)
            dist.barrier()
            start = time.perf_counter()
            dist.all_reduce(by_library)
            library.append(time.perf_counter() - start)
        error = float((by_ring - by_library).abs().max())
        measured.append(RingTime(size, sent, float(np.median(ring)), float(np.median(library)), error))
    return measured


@dataclass(frozen=True)
class AlphaBeta:
    """The cost model of a ring: 2 (n - 1) (alpha + size / (n bandwidth)) seconds (Hockney 1994)."""

    alpha: float  # latency of a send in seconds
    bandwidth: float  # bytes per second
    error: float  # median relative difference between the model and the measured times

    def seconds(self, size: float, processes: int) -> float:
        """Return the predicted seconds for a message of `size` bytes."""
        return 2 * (processes - 1) * (self.alpha + size / processes / self.bandwidth)


def fit_alpha_beta(times: list[RingTime], processes: int) -> AlphaBeta:
    """Fit the cost model to measured times, by least squares of relative errors."""
    measured = np.array([one.ring for one in times])
    steps = 2 * (processes - 1)
    terms = np.array([[steps, steps * one.size / processes] for one in times])
    (alpha, beta), *_ = np.linalg.lstsq(terms / measured[:, None], np.ones(len(times)), rcond=None)
    error = np.median(np.abs(terms @ (alpha, beta) / measured - 1))
    return AlphaBeta(float(alpha), float(1 / beta), float(error))
