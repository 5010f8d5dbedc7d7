"""The layouts that fit, the fastest of them, and what a whole run takes: days, money, energy, failures."""

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
USABLE = 0.92  # of an accelerator's memory; the rest is the driver's, NCCL's and lost between blocks
MOST_TENSOR = 16  # ranks, where a node has more accelerators
TENSORS = (1, 2, 4, 8, 16)
STAGES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 35, 40, 48, 64)
CONTEXTS, LEAST_PART = (1, 2, 4, 8, 16, 32), 4096  # tokens of a sequence on one rank, from which it pays
EXPERT_GROUPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MICROBATCHES = (1, 2, 4, 8, 16)
CHUNKS = (1, 2, 4, 5, 8, 16)
RECOMPUTED: tuple[Recompute, ...] = ("none", "full")
BATCH_TOLERANCE = 1 / 16  # by which a step may have more or fewer sequences, so that they divide
WORTH_IDLING = 0.02  # by which a layout must be faster that leaves GPUs idle
SPARE = 0.1  # of the nodes that may stand by; more only to leave a power of two at work
MOST_OF_A_SEQUENCE = 16  # GPUs for each sequence of a step, beyond which ever fewer are tried
MOST_NODES = 65536  # that a search for the least number of GPUs goes to
LEAST_GOODPUT = 0.01
DAY, HOUR = 86400.0, 3600.0


@dataclass(frozen=True)
class Job:
    """What is to be trained, on what.

    Attributes:
        model: Its shape.
        accelerator: The GPU, its node and its network.
        tokens: Of the run.
        gpus: That there are.
        sequence: Tokens of a sequence.
        batch: Sequences of a step.
        stack: What the software does.
        price: USD of an accelerator's hour.
        hours_per_failure: Accelerator hours from one interruption to the next.
        restart_seconds: From an interruption to the first step after it.
        storage_gbps: GB/s that each accelerator writes checkpoints with; arXiv 2407.21783 had 2 TB/s for all.
        price_source: Where the price is from.
        fixed: Fields of `Layout` that the search must keep.
    """

    model: Model
    accelerator: Accelerator
    tokens: float
    gpus: int
    sequence: int
    batch: int
    stack: Stack
    price: float
    hours_per_failure: float
    restart_seconds: float = 600
    storage_gbps: float = 0.125
    price_source: str = "as given"
    fixed: Mapping[str, int | str] = field(default_factory=dict)

    def choices(self, name: str, usual: Sequence[Any]) -> Sequence[Any]:
        """Return the values that a field of the layout may have."""
        return (self.fixed[name],) if name in self.fixed else usual


@dataclass(frozen=True)
class Candidate:
    """A layout with what it needs and how fast it is.

    Attributes:
        layout: How the model is divided.
        microbatches: Of a step, on each pipeline.
        memory: Bytes of the fullest GPU.
        step: Seconds of a step.
        rate: Tokens per second, of all GPUs.
        kept: The same, of steps that count in spite of failures.
    """

    layout: Layout
    microbatches: int
    memory: Memory
    step: StepTime
    rate: float
    kept: float


@dataclass(frozen=True)
class Found:
    """The layouts of a job: those that fit, the fastest first, and the memory of those that do not."""

    fitting: tuple[Candidate, ...]
    too_large: tuple[tuple[Layout, Memory], ...]


@dataclass(frozen=True)
class Run:
    """A whole run with one layout.

    Attributes:
        job: What is trained.
        candidate: How.
        tflops: Model TFLOP/s of each GPU that works.
        mfu: Of its peak in BF16, also where matrices are multiplied in FP8.
        steps: Of the run.
        checkpoint_seconds: To write one.
        interval_seconds: From one checkpoint to the next.
        hours_between_failures: Of the whole job.
        failures: Expected in the run.
        goodput: Share of the time that makes steps which count.
        days: From the first step to the last.
        gpu_hours: Of all GPUs, idle ones too.
        cost: USD.
        megawatt_hours: At most: nodes at full load, without cooling.
    """

    job: Job
    candidate: Candidate
    tflops: float
    mfu: float
    steps: float
    checkpoint_seconds: float
    interval_seconds: float
    hours_between_failures: float
    failures: float
    goodput: float
    days: float
    gpu_hours: float
    cost: float
    megawatt_hours: float

    @property
    def spare(self) -> int:
        """GPUs that stand by."""
        return self.job.gpus - self.candidate.layout.gpus


def fits(needed: Memory, accelerator: Accelerator, usable: float = USABLE) -> bool:
    """Return whether an accelerator holds that much."""
    return needed.total <= usable * accelerator.memory_gib * GIB


def search(job: Job) -> Found:
    """Return the layouts of a job.

    Args:
        job: What is to be trained.

    Returns:
        Those that fit and those that do not.
    """
    fitting: list[Candidate] = []
    too_large: list[tuple[Layout, Memory]] = []
    for gpus in _working(job):
        if gpus <= job.gpus // 4 and not fitting:
            break  # the many have no layout: that is said, rather than a plan for the few
        good = _goodput(job, gpus)
        for layout, microbatches in _layouts(job, gpus):
            needed = memory(job.model, layout, job.sequence, microbatches, job.stack)
            if not fits(needed, job.accelerator):
                too_large.append((layout, needed))
                continue
            step = step_time(job.model, job.accelerator, layout, job.sequence, microbatches, job.stack)
            tokens = microbatches * layout.dp * layout.microbatch * job.sequence
            rate = tokens / step.total
            fitting.append(Candidate(layout, microbatches, needed, step, rate, rate * good))
    with_all = max((one.kept for one in fitting if one.layout.gpus == job.gpus), default=0.0)
    if max((one.kept for one in fitting), default=0.0) < (1 + WORTH_IDLING) * with_all:
        fitting = [one for one in fitting if one.layout.gpus == job.gpus]
        too_large = [(layout, needed) for layout, needed in too_large if layout.gpus == job.gpus]
    fitting.sort(key=lambda one: (-one.kept, -one.rate, one.layout.tp * one.layout.pp * one.layout.cp))
    return Found(tuple(fitting), tuple(too_large))


def require_fitting(job: Job, found: Found) -> Found:
    """Make sure that some layout fits."""
    if found.fitting:
        return found
    name, usable = job.accelerator.name, USABLE * job.accelerator.memory_gib
    decided = ", ".join(f"{name}={value}" for name, value in job.fixed.items())
    decided = f" with {decided}" if decided else ""
    if not found.too_large:
        raise UserError(
            f"No layout of {job.gpus:,} GPUs{decided} divides {job.model.layers} layers, {job.model.heads} "
            f"heads and a batch of {job.batch:,} sequences: give more tokens a step (--batch), fewer GPUs, "
            f"or a number that is {job.accelerator.node} times a power of two."
        )
    layout, least = min(found.too_large, key=lambda one: one[1].total)
    part = max(fields(least), key=lambda one: getattr(least, one.name)).name
    enough = least_gpus(job)
    hint = (
        f"The least that do are {enough:,}."
        if enough
        else "No number of them does: take one with more memory."
    )
    raise UserError(
        f"{job.model.name} does not fit {job.gpus:,} {name}: even the leanest layout ({described(layout)}) "
        f"needs {least.total / GIB:,.0f} GiB on a GPU, most of it {part}, and {usable:.0f} of "
        f"{job.accelerator.memory_gib:g} GiB can be used. {hint}"
    )


def least_gpus(job: Job) -> int:
    """Return the least number of GPUs that hold the model, whatever the speed; 0 when none does."""

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
    """Return what a run with a layout takes.

    Args:
        job: What is trained.
        candidate: How.

    Returns:
        Its days, money, energy and failures.

    Raises:
        UserError: When failures leave no time to train.
    """
    working = candidate.layout.gpus
    tflops = candidate.rate / working * job.model.flops_per_token(job.sequence) / 1e12
    cost, between = _checkpoint_and_failure(job, working)
    good = _goodput(job, working)
    if not good:
        raise UserError(
            f"A failure every {between:,.0f} s leaves no time to train: a restart takes "
            f"{job.restart_seconds:,.0f} s, a checkpoint {cost:,.0f} s. Fewer GPUs, a faster restart "
            "(--restart) or storage (--storage) help."
        )
    seconds = job.tokens / candidate.rate / good
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
        goodput=good,
        days=seconds / DAY,
        gpu_hours=gpu_hours,
        cost=gpu_hours * job.price,
        megawatt_hours=gpu_hours * job.accelerator.system_watts / 1e6,
    )


def _checkpoint_and_failure(job: Job, working: int) -> tuple[float, float]:
    """Return the seconds that a checkpoint takes, and those from one failure to the next."""
    state = (BF16 + OPTIMIZER_BYTES) * job.model.parameters
    return state / (working * job.storage_gbps * 1e9), job.hours_per_failure / working * HOUR


def _goodput(job: Job, working: int) -> float:
    """Return the share of the time that makes steps which count; 0 where failures leave next to none."""
    cost, between = _checkpoint_and_failure(job, working)
    try:
        found = expected_goodput(daly_interval(cost, between), cost, job.restart_seconds, between)
    except OverflowError:
        return 0.0
    return found if found >= LEAST_GOODPUT else 0.0


def young_interval(checkpoint: float, between_failures: float) -> float:
    """Return the seconds of work between checkpoints of this cost that lose the least (Young 1974)."""
    return math.sqrt(2 * checkpoint * between_failures)


def daly_interval(checkpoint: float, between_failures: float) -> float:
    """Return the same to a higher order (Daly 2006, equation 37), for checkpoints that cost much."""
    if checkpoint >= 2 * between_failures:
        return between_failures
    ratio = checkpoint / (2 * between_failures)
    young = young_interval(checkpoint, between_failures)
    return young * (1 + math.sqrt(ratio) / 3 + ratio / 9) - checkpoint


def expected_goodput(interval: float, checkpoint: float, restart: float, between_failures: float) -> float:
    """Return the share of time for work that stays, failures being exponential (Daly 2006, equation 20).

    Args:
        interval: Seconds of work between checkpoints.
        checkpoint: Seconds that a checkpoint keeps the training waiting.
        restart: Seconds from a failure to the first new step.
        between_failures: Mean seconds between failures of any part of the job.
    """
    spent = between_failures * math.exp(restart / between_failures)
    return interval / (spent * math.expm1((interval + checkpoint) / between_failures))


def goodput_of_failures(
    work: float, checkpoints: float, failures: int, restart: float, interval: float
) -> float:
    """Return the same for a known number of failures, each of which loses half an interval on average.

    Args:
        work: Seconds of all steps, once each.
        checkpoints: Seconds that all checkpoints have kept the training waiting.
        failures: How many there were.
        restart: Seconds from a failure to the first new step.
        interval: Seconds of work between checkpoints.
    """
    return work / (work + checkpoints + failures * (restart + interval / 2))


def runners_up(found: Found, count: int) -> list[Candidate]:
    """Return the fastest layouts that divide the model otherwise than the best does, and than each other."""
    best: dict[tuple[int, ...], Candidate] = {}
    for one in found.fitting:
        layout = one.layout
        best.setdefault((layout.tp, layout.pp, layout.cp, layout.ep, layout.zero), one)
    return list(best.values())[1 : count + 1]


def described(layout: Layout) -> str:
    """Return a layout in words: dp 16 x tp 8 x pp 8, ZeRO 1, microbatch 1."""
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
    """Return how many GPUs may work: all of them, or fewer that divide better or have enough to do."""
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


def _microbatches(wanted: float, stages: int) -> set[int]:
    """Return how many may make up a step; a multiple of the stages can be interleaved."""
    near = {math.floor(wanted), math.ceil(wanted), stages * round(wanted / stages)}
    return {one for one in near if one and abs(one / wanted - 1) <= BATCH_TOLERANCE}


def _smooth(count: int) -> bool:
    for prime in (2, 3, 5):
        while count % prime == 0:
            count //= prime
    return count == 1


def _layouts(job: Job, gpus: int, *, leanest: bool = False) -> Iterator[tuple[Layout, int]]:
    """Yield the ways to divide the work, with the microbatches of a step; or the leanest ones alone."""
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
