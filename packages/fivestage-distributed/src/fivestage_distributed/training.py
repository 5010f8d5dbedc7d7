"""One `train` function for every layout; the loss of each step equals that of one process, up to rounding.

The batch of a step is a function of seed and step, so that a training can resume.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from fivestage.common.columns import Ints
from fivestage_distributed.checkpoints import Checkpoints
from fivestage_distributed.configuration import ModelConfig, TrainingConfig
from fivestage_distributed.launch import WorkerRank
from fivestage_distributed.model import IGNORED
from fivestage_distributed.parallelize import Part, divide, gradient_sync, optimizer_of


@dataclass(frozen=True)
class Sequences:
    """Inputs and targets of a training."""

    inputs: Ints  # tokens, sequences x positions
    targets: Ints  # the token to predict at each position, in the same shape; -100 where there is none

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, step: int, size: int, seed: int) -> "Sequences":
        """Return the batch of a step; each epoch is a new permutation without an incomplete last batch."""
        steps = len(self) // size
        if steps == 0:
            raise ValueError(f"a batch of {size} sequences needs more than the {len(self)} there are")
        epoch, place = divmod(step, steps)
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        chosen = order[place * size : (place + 1) * size]
        return Sequences(self.inputs[chosen], self.targets[chosen])

    def part(self, index: int, parts: int) -> "Sequences":
        """Return one process's block of rows, of `parts` equal blocks."""
        size = len(self) // parts
        chosen = slice(index * size, (index + 1) * size)
        return Sequences(self.inputs[chosen], self.targets[chosen])


def toy_sequences(vocabulary: int, context: int, count: int = 512, seed: int = 1) -> Sequences:
    """Generate sequences from a random Markov chain, in which each token depends on the previous one."""
    generator = np.random.default_rng(seed)
    cumulative = generator.dirichlet(np.full(vocabulary, 0.1), vocabulary).cumsum(axis=1)
    tokens = np.zeros((count, context + 1), dtype=np.int64)
    tokens[:, 0] = generator.integers(vocabulary, size=count)
    for place in range(context):
        drawn = generator.random((count, 1)) > cumulative[tokens[:, place]]
        tokens[:, place + 1] = np.minimum(drawn.sum(axis=1), vocabulary - 1)
    return Sequences(tokens[:, :-1], tokens[:, 1:])


@dataclass
class Trained:
    """The result of a training in one process."""

    part: Part  # this process's part of the model
    optimizer: torch.optim.Optimizer  # the optimizer with its state
    first: int = 0  # the first step, above 0 if the training resumed
    # mean cross-entropy of the global batch (nats per target) of each step from `first` on
    losses: list[float] = field(default_factory=list)
    blocked: list[float] = field(default_factory=list)  # seconds that each checkpoint blocked the training


class TokenLoss:
    """The sum of the targets' cross-entropies divided by their number in the *global* batch.

    Summed over microbatches and averaged over processes, this is the global mean even if the number of
    targets differs among them.
    """

    def __init__(self, parts: int) -> None:
        self.parts = parts  # gradient synchronisation averages over these
        self.targets = 1

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        flat = logits.float().flatten(0, 1)
        total = functional.cross_entropy(flat, targets.flatten(), ignore_index=IGNORED, reduction="sum")
        return total * (self.parts / self.targets)


def learning_rate(step: int, training: TrainingConfig) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine down to a tenth."""
    if step < training.warmup:
        return training.learning_rate * (step + 1) / training.warmup
    done = (step - training.warmup) / max(1, training.steps - training.warmup)
    return training.learning_rate * (0.55 + 0.45 * math.cos(math.pi * done))


@contextlib.contextmanager
def process_group() -> Iterator[torch.device]:
    """Join the process group of `torchrun`, or create one with a single process; NCCL if there are GPUs."""
    worker, cuda = WorkerRank.read(), torch.cuda.is_available()
    device = torch.device("cuda", worker.local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    threads = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if worker.world == 1:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo", store=dist.HashStore(), rank=0, world_size=1
        )
    else:
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()
        torch.set_num_threads(threads)


def train(
    model: ModelConfig,
    training: TrainingConfig,
    data: Sequences,
    device: torch.device,
    *,
    folder: Path | None = None,
    begin: Callable[[Part], None] | None = None,
    report: Callable[[int, float], None] | None = None,
) -> Trained:
    """Train a new model, or resume from its newest complete checkpoint.

    Args:
        model: Sizes of the model.
        training: Settings of the training; `parallel` must match the number of processes.
        data: All sequences, in every process.
        device: This process's device, from `process_group`.
        folder: Folder for checkpoints; None for no checkpoints.
        begin: Called with the part before the first step, for example to load other parameters.
        report: Called after each step with its number and loss.

    Returns:
        This process's trained part, and the global losses.

    Raises:
        ValueError: If the number of processes does not match `parallel`.
    """
    parallel = training.parallel
    if parallel.processes != dist.get_world_size():
        raise ValueError(
            f"dp {parallel.dp} x tp {parallel.tp} x pp {parallel.pp} needs {parallel.processes} processes, "
            f"but there are {dist.get_world_size()}"
        )
    part = divide(model, training, device)
    if begin:
        begin(part)
    trained = Trained(part, optimizer_of(part, training))
    checkpoints = Checkpoints(folder, part.parameters(), trained.optimizer, training) if folder else None
    trained.first = checkpoints.restore() if checkpoints else 0
    loss = TokenLoss(parallel.dp)
    update = (
        _pipelined(part, training, loss, device) if parallel.pp > 1 else _accumulated(part, training, loss)
    )
    for step in range(trained.first, training.steps):
        batch = data.batch(step, training.batch, training.seed)
        loss.targets = int((batch.targets != IGNORED).sum())
        own = batch.part(part.data_rank, parallel.dp)
        for group in trained.optimizer.param_groups:
            group["lr"] = learning_rate(step, training)
        trained.optimizer.zero_grad()
        with _precision(training, device):
            total = update(*(torch.from_numpy(one).to(device) for one in (own.inputs, own.targets)))
        trained.optimizer.step()
        total /= parallel.dp * parallel.tp
        dist.all_reduce(total)
        trained.losses.append(float(total))
        if checkpoints and training.checkpoint_every and (step + 1) % training.checkpoint_every == 0:
            before = time.perf_counter()
            checkpoints.save(step + 1)
            trained.blocked.append(time.perf_counter() - before)
        if report:
            report(step, trained.losses[-1])
    if checkpoints:
        checkpoints.wait()
    return trained


Update = Callable[[Tensor, Tensor], Tensor]  # (inputs, targets) -> this process's loss; computes gradients


def _accumulated(part: Part, training: TrainingConfig, loss: TokenLoss) -> Update:
    (module,) = part.wrapped.values()
    count = training.parallel.microbatches

    def update(inputs: Tensor, targets: Tensor) -> Tensor:
        losses = []
        for place, (x, y) in enumerate(zip(inputs.chunk(count), targets.chunk(count), strict=True)):
            with gradient_sync(module, enabled=place == count - 1):
                one = loss(module(x), y)
                one.backward()  # type: ignore[no-untyped-call]
            losses.append(one.detach())
        return torch.stack(losses).sum()

    return update


def _pipelined(part: Part, training: TrainingConfig, loss: TokenLoss, device: torch.device) -> Update:
    from torch.distributed.pipelining import (  # imported here, as it takes a second
        PipelineStage,
        Schedule1F1B,
        ScheduleGPipe,
        ScheduleInterleaved1F1B,
    )

    parallel = training.parallel
    count, group = parallel.pp * parallel.chunks, part.mesh["pipeline"].get_group()
    stages: list[Any] = [
        PipelineStage(one, number, count, device, group=group) for number, one in part.wrapped.items()
    ]
    options: dict[str, Any] = {"n_microbatches": parallel.microbatches, "loss_fn": loss, "scale_grads": False}
    schedule: Any
    if parallel.schedule == "interleaved":
        schedule = ScheduleInterleaved1F1B(stages, **options)
    else:
        kind: Any = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}[parallel.schedule]
        schedule = kind(stages[0], **options)
    first, last = 0 in part.stages, count - 1 in part.stages

    def update(inputs: Tensor, targets: Tensor) -> Tensor:
        losses: list[Tensor] = []
        schedule.step(*([inputs] if first else []), target=targets if last else None, losses=losses)
        return torch.stack([one.detach() for one in losses]).sum() if last else torch.zeros((), device=device)

    return update


def _precision(training: TrainingConfig, device: torch.device) -> Any:
    """Return the autocast context; FSDP2 does without, as its own policy converts parameters."""
    by_fsdp = training.parallel.zero >= 2 and training.parallel.dp > 1  # noqa: PLR2004
    if training.precision == "float32" or by_fsdp:
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def drop_gradient_sync(part: Part) -> None:
    """Turn gradient synchronisation off: the mistake that the equality check must detect."""
    for module in part.wrapped.values():
        if isinstance(module, nn.parallel.DistributedDataParallel):
            module.register_comm_hook(None, _unsynchronised)


# DDP checks the annotation of `bucket` and refuses a string, so this module has no `annotations` import.
def _unsynchronised(_state: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    future: torch.futures.Future[Tensor] = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future
