"""Searches for the fastest layout that fits, and projects a whole run: days, cost, energy, failures."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any

from fivestage.common.errors import UserError
from fivestage_distributed.plan.catalog import Accelerator, Model, mfu
from fivestage_distributed.plan.roofline import (
    BF16,
    OPTIMIZER_BYTES,
    Layout,
    Memory,
    Recompute,
    Stack,
    StepTime,
    memory,
    step_time,
)

GIB = 2**30
USABLE = 0.92  # share of an accelerator's memory; the rest goes to driver, NCCL and fragmentation
MOST_TENSOR = 16  # tensor parallel ranks, in a node with more accelerators
TENSORS = (1, 2, 4, 8, 16)
STAGES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 35, 40, 48, 64)
CONTEXTS, LEAST_PART = (1, 2, 4, 8, 16, 32), 4096  # fewest tokens of a sequence on one rank
EXPERT_GROUPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MICROBATCHES = (1, 2, 4, 8, 16)
CHUNKS = (1, 2, 4, 5, 8, 16)
RECOMPUTED: tuple[Recompute, ...] = ("none", "full")
BATCH_TOLERANCE = 1 / 16  # by which the batch may differ, so that it divides evenly
WORTH_IDLING = 0.02  # by which a layout with idle GPUs must be faster
SPARE = 0.1  # share of nodes that may stand by; more only to leave a power of two working
MOST_OF_A_SEQUENCE = 16  # GPUs per sequence of a step; beyond that fewer GPUs are tried too
MOST_NODES = 65536  # limit of the search for the least number of GPUs
LEAST_GOODPUT = 0.01
DAY, HOUR = 86400.0, 3600.0


@dataclass(frozen=True)
class Job:
    """The training to plan."""

    model: Model  # shape of the model
    accelerator: Accelerator  # the GPU, its node and its network
    tokens: float  # tokens of the run
    gpus: int  # number of available GPUs
    sequence: int  # tokens per sequence
    batch: int  # sequences per step
    stack: Stack  # the training software
    price: float  # USD per accelerator hour
    hours_per_failure: float  # accelerator hours between failures
    restart_seconds: float = 600  # seconds from a failure to the next step
    storage_gbps: float = 0.125  # GB/s per accelerator for checkpoints; arXiv 2407.21783 had 2 TB/s for all
    price_source: str = "as given"  # source of the price
    # fields of `Layout` that the search must not change
    fixed: Mapping[str, int | str] = field(default_factory=dict)

    def choices(self, name: str, usual: Sequence[Any]) -> Sequence[Any]:
        """Return the values to try for a field of the layout."""
        return (self.fixed[name],) if name in self.fixed else usual


@dataclass(frozen=True)
class Candidate:
    """A layout with its memory and speed."""

    layout: Layout
    microbatches: int  # microbatches per step and pipeline
    memory: Memory  # bytes on the fullest GPU
    step: StepTime  # seconds of a step
    rate: float  # tokens per second of all GPUs
    kept: float  # tokens per second after the losses to failures


@dataclass(frozen=True)
class SearchResult:
    """The layouts of a job that fit, the fastest first, and those that do not, with their memory."""

    fitting: tuple[Candidate, ...]
    too_large: tuple[tuple[Layout, Memory], ...]


@dataclass(frozen=True)
class Run:
    """The projection of a whole run with one layout."""

    job: Job  # the training
    candidate: Candidate  # the layout
    tflops: float  # model TFLOP/s of each working GPU
    mfu: float  # share of the BF16 peak, even if matrices are multiplied in FP8
    steps: float  # number of steps
    checkpoint_seconds: float  # seconds to write a checkpoint
    interval_seconds: float  # seconds between checkpoints
    hours_between_failures: float  # mean hours between failures of the whole job
    failures: float  # expected number of failures
    goodput: float  # share of the time spent on steps that are not lost
    days: float  # days from the first step to the last
    gpu_hours: float  # GPU hours, idle GPUs included
    cost: float  # cost in USD
    megawatt_hours: float  # upper bound of the energy: nodes at full load, without cooling

    @property
    def spare(self) -> int:
        """Number of GPUs that stand by."""
        return self.job.gpus - self.candidate.layout.gpus


def fits(needed: Memory, accelerator: Accelerator, usable: float = USABLE) -> bool:
    """Return whether an accelerator has enough memory."""
    return needed.total <= usable * accelerator.memory_gib * GIB


def search(job: Job) -> SearchResult:
    """Search the layouts of a job.

    Args:
        job: The training to plan.

    Returns:
        The layouts that fit and those that do not.
    """
    fitting: list[Candidate] = []
    too_large: list[tuple[Layout, Memory]] = []
    for gpus in _working(job):
        if gpus <= job.gpus // 4 and not fitting:
            break  # report that all the GPUs have no layout, rather than plan for a few of them
        goodput = _goodput(job, gpus)
        for layout, microbatches in _layouts(job, gpus):
            needed = memory(job.model, layout, job.sequence, microbatches, job.stack)
            if not fits(needed, job.accelerator):
                too_large.append((layout, needed))
                continue
            step = step_time(job.model, job.accelerator, layout, job.sequence, microbatches, job.stack)
            tokens = microbatches * layout.dp * layout.microbatch * job.sequence
            rate = tokens / step.total
            fitting.append(Candidate(layout, microbatches, needed, step, rate, rate * goodput))
    with_all = max((one.kept for one in fitting if one.layout.gpus == job.gpus), default=0.0)
    if max((one.kept for one in fitting), default=0.0) < (1 + WORTH_IDLING) * with_all:
        fitting = [one for one in fitting if one.layout.gpus == job.gpus]
        too_large = [(layout, needed) for layout, needed in too_large if layout.gpus == job.gpus]
    fitting.sort(key=lambda one: (-one.kept, -one.rate, one.layout.tp * one.layout.pp * one.layout.cp))
    return SearchResult(tuple(fitting), tuple(too_large))


def require_fitting(job: Job, result: SearchResult) -> SearchResult:
    """Return the result if some layout fits, else raise a UserError that says what would."""
    if result.fitting:
        return result
    name, usable = job.accelerator.name, USABLE * job.accelerator.memory_gib
    fixed = ", ".join(f"{name}={value}" for name, value in job.fixed.items())
    fixed = f" with {fixed}" if fixed else ""
    if not result.too_large:
        raise UserError(
            f"No layout of {job.gpus:,} GPUs{fixed} divides {job.model.layers} layers, {job.model.heads} "
            f"heads and a batch of {job.batch:,} sequences: use more tokens per step (--batch), fewer GPUs, "
            f"or {job.accelerator.node} times a power of two."
        )
    layout, least = min(result.too_large, key=lambda one: one[1].total)
    part = max(fields(least), key=lambda one: getattr(least, one.name)).name
    enough = least_gpus(job)
    hint = f"Use at least {enough:,}." if enough else "No number of them is enough: use one with more memory."
    raise UserError(
        f"{job.model.name} does not fit {job.gpus:,} {name}: even the leanest layout ({described(layout)}) "
        f"needs {least.total / GIB:,.0f} GiB per GPU, most of it {part}, and {usable:.0f} of "
        f"{job.accelerator.memory_gib:g} GiB are usable. {hint}"
    )


def least_gpus(job: Job) -> int:
    """Return the least number of GPUs whose memory suffices, at any speed; 0 if none does."""

    def enough(gpus: int) -> bool:
        one = replace(job, gpus=gpus, batch=gpus)  # a batch that always divides
        return any(
            fits(memory(job.model, layout, job.sequence, 1, job.stack), job.accelerator)
            for layout, _ in _layouts(one, gpus, leanest=True)
        )

    node = job.accelerator.node
    small = next((gpus for gpus in range(1, node) if enough(gpus)), 0)
    if small:
        return small
    high = 1
    while not enough(high * node):
        high *= 2
        if high > MOST_NODES:
            return 0
    return next(nodes * node for nodes in range(high // 2 + 1, high + 1) if enough(nodes * node))


def whole_run(job: Job, candidate: Candidate) -> Run:
    """Project a whole run with a layout.

    Args:
        job: The training.
        candidate: The layout.

    Returns:
        Its days, cost, energy and failures.

    Raises:
        UserError: If failures leave no time to train.
    """
    working = candidate.layout.gpus
    tflops = candidate.rate / working * job.model.flops_per_token(job.sequence) / 1e12
    cost, between = _checkpoint_and_failure(job, working)
    goodput = _goodput(job, working)
    if not goodput:
        raise UserError(
            f"A failure every {between:,.0f} s leaves no time to train: a restart takes "
            f"{job.restart_seconds:,.0f} s, a checkpoint {cost:,.0f} s. Use fewer GPUs, a faster restart "
            "(--restart) or faster storage (--storage)."
        )
    seconds = job.tokens / candidate.rate / goodput
    gpu_hours = seconds / HOUR * job.gpus
    return Run(
        job=job,
        candidate=candidate,
        tflops=tflops,
        mfu=mfu(tflops, job.accelerator),
        steps=job.tokens / (candidate.rate * candidate.step.total),
        checkpoint_seconds=cost,
        interval_seconds=daly_interval(cost, between),
        hours_between_failures=between / HOUR,
        failures=seconds / between,
        goodput=goodput,
        days=seconds / DAY,
        gpu_hours=gpu_hours,
        cost=gpu_hours * job.price,
        megawatt_hours=gpu_hours * job.accelerator.system_watts / 1e6,
    )


def _checkpoint_and_failure(job: Job, working: int) -> tuple[float, float]:
    """Return the seconds of a checkpoint, and the mean seconds between failures."""
    state = (BF16 + OPTIMIZER_BYTES) * job.model.parameters
    return state / (working * job.storage_gbps * 1e9), job.hours_per_failure / working * HOUR


def _goodput(job: Job, working: int) -> float:
    """Return the goodput with the optimal interval; 0 if failures leave almost no time to train."""
    cost, between = _checkpoint_and_failure(job, working)
    try:
        goodput = expected_goodput(daly_interval(cost, between), cost, job.restart_seconds, between)
    except OverflowError:
        return 0.0
    return goodput if goodput >= LEAST_GOODPUT else 0.0


def young_interval(checkpoint: float, between_failures: float) -> float:
    """Return the optimal seconds of work between checkpoints (Young 1974)."""
    return math.sqrt(2 * checkpoint * between_failures)


def daly_interval(checkpoint: float, between_failures: float) -> float:
    """Return the optimal interval to a higher order, for costly checkpoints (Daly 2006, equation 37)."""
    if checkpoint >= 2 * between_failures:
        return between_failures
    ratio = checkpoint / (2 * between_failures)
    young = young_interval(checkpoint, between_failures)
    return young * (1 + math.sqrt(ratio) / 3 + ratio / 9) - checkpoint


def expected_goodput(interval: float, checkpoint: float, restart: float, between_failures: float) -> float:
    """Return the share of time spent on lasting work, with exponential failures (Daly 2006, equation 20).

    Args:
        interval: Seconds of work between checkpoints.
        checkpoint: Seconds that a checkpoint blocks the training.
        restart: Seconds from a failure to the first new step.
        between_failures: Mean seconds between failures of any part of the job.
    """
    spent = between_failures * math.exp(restart / between_failures)
    return interval / (spent * math.expm1((interval + checkpoint) / between_failures))


def goodput_of_failures(
    work: float, checkpoints: float, failures: int, restart: float, interval: float
) -> float:
    """Return the goodput for a known number of failures, each of which loses half an interval on average.

    Args:
        work: Seconds of all steps, each counted once.
        checkpoints: Seconds that all checkpoints together blocked the training.
        failures: Number of failures.
        restart: Seconds from a failure to the first new step.
        interval: Seconds of work between checkpoints.
    """
    return work / (work + checkpoints + failures * (restart + interval / 2))


def runners_up(result: SearchResult, count: int) -> list[Candidate]:
    """Return the next fastest layouts that divide the model differently from the best and from each other."""
    best: dict[tuple[int, ...], Candidate] = {}
    for one in result.fitting:
        layout = one.layout
        best.setdefault((layout.tp, layout.pp, layout.cp, layout.ep, layout.zero), one)
    return list(best.values())[1 : count + 1]


def described(layout: Layout) -> str:
    """Describe a layout, such as "dp 16 x tp 8 x pp 8, ZeRO 1, microbatch 1"."""
    parts = [
        f"{name} {getattr(layout, name)}" for name in ("dp", "tp", "pp", "cp") if getattr(layout, name) > 1
    ]
    words = [" x ".join(parts) or "one GPU"]
    words += [f"ep {layout.ep}"] if layout.ep > 1 else []
    words += [f"ZeRO {layout.zero}", f"microbatch {layout.microbatch}"]
    words += [f"{layout.chunks} chunks a stage"] if layout.chunks > 1 else []
    words += ["layers recomputed"] if layout.recompute == "full" else []
    return ", ".join(words)


def _working(job: Job) -> list[int]:
    """Return the numbers of GPUs to try: all, or fewer that divide better or suffice for the batch."""
    gpus, node = job.gpus, job.accelerator.node
    if gpus <= node:
        return [gpus]
    nodes = gpus // node
    most = [count for count in range(nodes, max(1, int(nodes * (1 - SPARE))) - 1, -1) if _smooth(count)]
    power = 2 ** int(math.log2(nodes))
    halves = [power, power // 2]
    while halves[-1] * node > MOST_OF_A_SEQUENCE * job.batch and halves[-1] > 1:
        halves.append(halves[-1] // 2)
    return list(dict.fromkeys([gpus, *(count * node for count in [*most[:3], *halves] if count)]))


def _microbatches(target: float, stages: int) -> set[int]:
    """Return numbers of microbatches near the target; a multiple of the stages can be interleaved."""
    near = {math.floor(target), math.ceil(target), stages * round(target / stages)}
    return {one for one in near if one and abs(one / target - 1) <= BATCH_TOLERANCE}


def _smooth(count: int) -> bool:
    for prime in (2, 3, 5):
        while count % prime == 0:
            count //= prime
    return count == 1


def _layouts(job: Job, gpus: int, *, leanest: bool = False) -> Iterator[tuple[Layout, int]]:
    """Yield the possible layouts with their microbatches per step, or only those with the least memory."""
    model, most = job.model, min(job.accelerator.node, MOST_TENSOR)
    tensor = [one for one in TENSORS if one <= most and model.heads % one == 0]
    contexts = [one for one in CONTEXTS if one == 1 or job.sequence / one >= LEAST_PART]
    experts = [one for one in EXPERT_GROUPS if one == 1 or (model.experts and model.experts.count % one == 0)]
    for tp, pp, cp, ep in product(
        job.choices("tp", tensor),
        job.choices("pp", [one for one in STAGES if one <= model.layers]),
        job.choices("cp", contexts),
        job.choices("ep", experts),
    ):
        dp, rest = divmod(gpus, tp * pp * cp)
        divides = model.heads % tp == 0 and pp <= model.layers and not rest and dp % ep == 0
        if divides and dp in job.choices("dp", (dp,)):
            yield from _details(job, Layout(dp, tp, pp, cp, ep), leanest=leanest)


def _details(job: Job, layout: Layout, *, leanest: bool) -> Iterator[tuple[Layout, int]]:
    stages = (0,) if layout.dp * layout.cp == 1 else (0, 1) if layout.pp > 1 else (0, 1, 2, 3)
    stage = math.ceil(job.model.layers / layout.pp)
    for microbatch, count in (
        (one, count)
        for one in job.choices("microbatch", (1,) if leanest else MICROBATCHES)
        for count in _microbatches(job.batch / (layout.dp * one), layout.pp)
    ):
        interleaved = layout.pp > 1 and count % layout.pp == 0 and not leanest
        chunks = [one for one in CHUNKS if one == 1 or (interleaved and stage % one == 0)]
        for zero, recompute, chunk in product(
            job.choices("zero", stages[-1:] if leanest else stages),
            job.choices("recompute", RECOMPUTED[-1:] if leanest else RECOMPUTED),
            job.choices("chunks", chunks),
        ):
            one = replace(layout, zero=zero, microbatch=microbatch, chunks=chunk, recompute=recompute)
            yield one, count
