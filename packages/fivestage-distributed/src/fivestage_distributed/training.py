"""One `train` function for every layout: the loss of each step is that of one process, up to rounding.

The batch of a step is a function of seed and step, so that a training can be resumed.
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
from fivestage_distributed.launch import Place
from fivestage_distributed.model import IGNORED
from fivestage_distributed.parallelize import Part, divide, gradient_sync, optimizer_of


@dataclass(frozen=True)
class Sequences:
    """Inputs and targets.

    Args:
        inputs: sequences x positions, tokens.
        targets: in the same shape, the token to be predicted at each position; -100 where none is.
    """

    inputs: Ints
    targets: Ints

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, step: int, size: int, seed: int) -> "Sequences":
        """The batch of a step: each epoch a new permutation, of which a short rest is left out."""
        steps = len(self) // size
        if steps == 0:
            raise ValueError(f"a batch of {size} sequences cannot be had of {len(self)}")
        epoch, place = divmod(step, steps)
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        chosen = order[place * size : (place + 1) * size]
        return Sequences(self.inputs[chosen], self.targets[chosen])

    def part(self, index: int, parts: int) -> "Sequences":
        """Every `parts`-th block of rows, that of one process."""
        size = len(self) // parts
        chosen = slice(index * size, (index + 1) * size)
        return Sequences(self.inputs[chosen], self.targets[chosen])


def toy_sequences(vocabulary: int, context: int, count: int = 512, seed: int = 1) -> Sequences:
    """Sequences in which each token depends on the one before: a random Markov chain."""
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
    """What a training leaves in one process.

    Args:
        part: its part of the model.
        optimizer: with its state.
        first: the step from which it went on.
        losses: mean cross-entropy of the global batch (nats a target) of each step from `first` on.
        blocked: seconds that each checkpoint has kept the training waiting.
    """

    part: Part
    optimizer: torch.optim.Optimizer
    first: int = 0
    losses: list[float] = field(default_factory=list)
    blocked: list[float] = field(default_factory=list)


class TokenLoss:
    """Sum of the targets' cross-entropies over their number in the *global* batch.

    Sums of microbatches and means over processes are then the global mean, though the targets that count
    are not equally many in each.
    """

    def __init__(self, parts: int) -> None:
        self.parts = parts  # whose mean the gradients' sync takes
        self.targets = 1

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        flat = logits.float().flatten(0, 1)
        total = functional.cross_entropy(flat, targets.flatten(), ignore_index=IGNORED, reduction="sum")
        return total * (self.parts / self.targets)


def learning_rate(step: int, training: TrainingConfig) -> float:
    """Linear warm-up, then a cosine down to a tenth."""
    if step < training.warmup:
        return training.learning_rate * (step + 1) / training.warmup
    done = (step - training.warmup) / max(1, training.steps - training.warmup)
    return training.learning_rate * (0.55 + 0.45 * math.cos(math.pi * done))


@contextlib.contextmanager
def process_group() -> Iterator[torch.device]:
    """The group of all processes, as `torchrun` has started them, or of one; NCCL where there are GPUs."""
    place, cuda = Place.read(), torch.cuda.is_available()
    device = torch.device("cuda", place.local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    threads = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if place.world == 1:
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
    """Train a new model, or go on from its newest complete checkpoint.

    Args:
        model: sizes.
        training: how long, and how it is divided; `parallel` names as many processes as there are.
        data: all sequences, in every process.
        device: of this process, as `process_group` yields it.
        folder: of the checkpoints; None: there are none.
        begin: called with the part before the first step, such as to load other parameters.
        report: called after each step with its number and loss.

    Returns:
        This process's part, trained, and the losses of all.

    Raises:
        ValueError: there are more or fewer processes than `parallel` names.
    """
    parallel = training.parallel
    if parallel.processes != dist.get_world_size():
        raise ValueError(
            f"dp {parallel.dp} x tp {parallel.tp} x pp {parallel.pp} takes {parallel.processes} processes, "
            f"and there are {dist.get_world_size()}"
        )
    part = divide(model, training, device)
    if begin:
        begin(part)
    done = Trained(part, optimizer_of(part, training))
    checkpoints = Checkpoints(folder, part.parameters(), done.optimizer, training) if folder else None
    done.first = checkpoints.restore() if checkpoints else 0
    loss = TokenLoss(parallel.dp)
    update = (
        _pipelined(part, training, loss, device) if parallel.pp > 1 else _accumulated(part, training, loss)
    )
    for step in range(done.first, training.steps):
        batch = data.batch(step, training.batch, training.seed)
        loss.targets = int((batch.targets != IGNORED).sum())
        own = batch.part(part.data_rank, parallel.dp)
        for group in done.optimizer.param_groups:
            group["lr"] = learning_rate(step, training)
        done.optimizer.zero_grad()
        with _precision(training, device):
            total = update(*(torch.from_numpy(one).to(device) for one in (own.inputs, own.targets)))
        done.optimizer.step()
        total /= parallel.dp * parallel.tp
        dist.all_reduce(total)
        done.losses.append(float(total))
        if checkpoints and training.checkpoint_every and (step + 1) % training.checkpoint_every == 0:
            before = time.perf_counter()
            checkpoints.save(step + 1)
            done.blocked.append(time.perf_counter() - before)
        if report:
            report(step, done.losses[-1])
    if checkpoints:
        checkpoints.wait()
    return done


Update = Callable[[Tensor, Tensor], Tensor]  # of inputs and targets: gradients, and this process's loss


def _accumulated(part: Part, training: TrainingConfig, loss: TokenLoss) -> Update:
    (module,) = part.wrapped.values()
    count = training.parallel.microbatches

    def update(inputs: Tensor, targets: Tensor) -> Tensor:
        losses = []
        for place, (x, y) in enumerate(zip(inputs.chunk(count), targets.chunk(count), strict=True)):
            with gradient_sync(module, wanted=place == count - 1):
                one = loss(module(x), y)
                one.backward()  # type: ignore[no-untyped-call]
            losses.append(one.detach())
        return torch.stack(losses).sum()

    return update


def _pipelined(part: Part, training: TrainingConfig, loss: TokenLoss, device: torch.device) -> Update:
    from torch.distributed.pipelining import (  # takes a second, which no other layout should wait for
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
    """FSDP2 converts parameters by a policy of its own; elsewhere, autocast does."""
    own = training.parallel.zero >= 2 and training.parallel.dp > 1  # noqa: PLR2004
    if training.precision == "float32" or own:
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def drop_gradient_sync(part: Part) -> None:
    """Let each process keep its own gradients: the mistake that the test of equality must notice."""
    for module in part.wrapped.values():
        if isinstance(module, nn.parallel.DistributedDataParallel):
            module.register_comm_hook(None, _kept)


# DDP looks at the annotation of the bucket: a string, as `annotations` of `__future__` makes it, it refuses.
def _kept(_state: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    future: torch.futures.Future[Tensor] = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future
