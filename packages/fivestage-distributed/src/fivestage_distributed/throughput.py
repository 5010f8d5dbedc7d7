"""`make bench-gpu`: what a training reaches on a GPU, beside what the planner predicts for it."""

from __future__ import annotations

import json
import platform
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from fivestage.common.errors import UserError
from fivestage.common.files import write_text
from fivestage.reporting import number_format as fmt
from fivestage_distributed.configuration import ModelConfig, RunConfig, TrainingConfig
from fivestage_distributed.launch import FINISHED, losses_of, run_training
from fivestage_distributed.plan.catalog import Accelerator, Model, accelerator_of, find_accelerator, mfu
from fivestage_distributed.plan.roofline import Layout, Stack, memory, step_time
from fivestage_distributed.training import toy_sequences

USUAL = RunConfig(  # 0.7 billion parameters: about 25 GiB with what they keep for the backward pass
    model=ModelConfig(vocabulary=32_000, context=2_048, layers=12, heads=16, width=2_048),
    training=TrainingConfig(steps=40, batch=8, precision="bfloat16", compile=True),
)
WARM_UP = 10  # steps that do not count: compiling, and the first allocations
GIB = 2**30


@dataclass(frozen=True)
class Speed:
    """How fast a training is, and what it holds.

    Args:
        tokens_per_second: of all devices.
        mfu: share of the peak in BF16; None where the peak is not known.
        memory_gib: of the fullest device; None where it was not measured.
    """

    tokens_per_second: float
    mfu: float | None
    memory_gib: float | None

    def __str__(self) -> str:
        words = [f"{fmt.count(self.tokens_per_second)} tokens/s"]
        words += [] if self.mfu is None else [f"MFU {self.mfu:.1%}"]
        words += [] if self.memory_gib is None else [f"{self.memory_gib:.1f} GiB on the fullest"]
        return ", ".join(words)


@dataclass(frozen=True)
class Throughput:
    """One measured training, beside the planner's prediction where it knows the device."""

    day: str
    device: str
    is_gpu: bool
    catalog: str
    config: RunConfig
    parameters: int
    measured: Speed
    predicted: Speed | None

    def sentences(self) -> list[str]:
        """What was measured, in words, for a page."""
        training = self.config.training
        how = [training.precision, *(["compiled"] if training.compile else [])]
        how += ["activations recomputed"] if training.recompute else []
        where = f"{training.parallel.processes} x {self.device}{'' if self.is_gpu else ', which is no GPU'}"
        measured = (
            f"{fmt.count(self.parameters)} parameters on {where}, {', '.join(how)}, {training.batch} "
            f"sequences of {self.config.model.context:,} tokens a step, measured on {self.day}: "
            f"{self.measured}."
        )
        predicted = (
            f"The planner predicts for the catalog's {self.catalog} (projected): {self.predicted}."
            if self.predicted
            else "Nothing is predicted for a device that the planner's catalog does not have."
        )
        return [measured, predicted]


def measure_throughput(config: RunConfig, device: str = "cuda", gpu: str = "") -> Throughput:
    """Train on random sequences, and measure the steps after the first ones.

    Args:
        config: what is trained, and how.
        device: `cuda`, or `cpu` to try the same without a GPU.
        gpu: the planner's name of the device; empty: by the name that the driver gives.

    Returns:
        What was measured, and the prediction.

    Raises:
        UserError: there is no GPU, or there are too few steps.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "torch sees no GPU here, so nothing is measured: run this where there is one, with torch for it "
            "(make setup-distributed TORCH=cuda), or try it on this machine's processors: --device cpu."
        )
    if config.training.steps <= WARM_UP + 1:
        raise UserError(
            f"training.steps is {config.training.steps}, of which the first {WARM_UP} do not count: "
            "ask for more."
        )
    model, training = config.model, config.training
    data = toy_sequences(min(model.vocabulary, 512), model.context, count=4 * training.batch)
    with tempfile.TemporaryDirectory() as scratch:
        run_training(Path(scratch), config, data.inputs, data.targets)
        times = [line["time"] for line in losses_of(Path(scratch))]
        done = json.loads((Path(scratch) / FINISHED).read_text(encoding="utf-8"))
    seconds = float(np.median(np.diff(times)[WARM_UP:]))
    known = find_accelerator(gpu) if gpu else accelerator_of(done["device"])
    shape = shape_of(model)
    return Throughput(
        day=datetime.now(UTC).date().isoformat(),
        device=done["device"] or platform.processor() or platform.machine(),
        is_gpu=bool(done["device"]),
        catalog=known.name if known else "",
        config=config,
        parameters=shape.parameters,
        measured=_speed(shape, config, seconds, done["memory"] / GIB if done["device"] else None, known),
        predicted=predict(config, known) if known else None,
    )


def shape_of(model: ModelConfig) -> Model:
    """The planner's description of a model of this package."""
    return Model(
        layers=model.layers, hidden=model.width, heads=model.heads, ffn=4 * model.width,
        vocab=model.vocabulary, positions=model.context, gated=False,
    )  # fmt: skip


def predict(config: RunConfig, accelerator: Accelerator) -> Speed:
    """What the planner says of a training: its step time, and the memory of the fullest device."""
    shape, training, parallel = shape_of(config.model), config.training, config.training.parallel
    layout = Layout(
        dp=parallel.dp, tp=parallel.tp, pp=parallel.pp, zero=parallel.zero, chunks=parallel.chunks,
        microbatch=training.batch // (parallel.dp * parallel.microbatches),
        recompute="full" if training.recompute else "none",
    )  # fmt: skip
    arguments = layout, config.model.context, parallel.microbatches, Stack(sequence_parallel=False)
    seconds = step_time(shape, accelerator, *arguments).total
    return _speed(shape, config, seconds, memory(shape, *arguments).total / GIB, accelerator)


def _speed(
    shape: Model, config: RunConfig, seconds: float, held: float | None, accelerator: Accelerator | None
) -> Speed:
    rate = config.training.batch * config.model.context / seconds
    each = rate / config.training.parallel.processes * shape.flops_per_token(config.model.context) / 1e12
    return Speed(rate, mfu(each, accelerator) if accelerator else None, held)


def write_record(found: Throughput, path: Path) -> Path:
    """Write what was measured, with its sentences, for the design book and the demonstration's page."""
    record = asdict(found) | {"config": found.config.model_dump(), "sentences": found.sentences()}
    return write_text(path, json.dumps({"label": "measured here"} | record, indent=1) + "\n")
