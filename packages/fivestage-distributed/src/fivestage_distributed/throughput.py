"""`make bench-gpu`: measures the throughput of a training on a GPU against the planner's prediction."""

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

USUAL = RunConfig(  # 0.7 billion parameters: about 25 GiB including activations
    model=ModelConfig(vocabulary=32_000, context=2_048, layers=12, heads=16, width=2_048),
    training=TrainingConfig(steps=40, batch=8, precision="bfloat16", compile=True),
)
WARM_UP = 10  # steps that are not timed: compilation and first allocations
GIB = 2**30


@dataclass(frozen=True)
class Speed:
    """Throughput and memory of a training."""

    tokens_per_second: float  # tokens per second of all devices together
    mfu: float | None  # model FLOP utilization, as a share of the BF16 peak; None if the peak is unknown
    memory_gib: float | None  # GiB on the fullest device; None if not measured

    def __str__(self) -> str:
        words = [f"{fmt.count(self.tokens_per_second)} tokens/s"]
        words += [] if self.mfu is None else [f"MFU {self.mfu:.1%}"]
        words += [] if self.memory_gib is None else [f"{self.memory_gib:.1f} GiB on the fullest"]
        return ", ".join(words)


@dataclass(frozen=True)
class Throughput:
    """A measured training, with the planner's prediction if its catalog has the device."""

    day: str
    device: str
    is_gpu: bool
    catalog: str
    config: RunConfig
    parameters: int
    measured: Speed
    predicted: Speed | None

    def sentences(self) -> list[str]:
        """Describe the measurement in sentences, for a page."""
        training = self.config.training
        how = [training.precision, *(["compiled"] if training.compile else [])]
        how += ["activations recomputed"] if training.recompute else []
        device = self.device if self.is_gpu else f"{self.device}, which is not a GPU"
        where = f"{training.parallel.processes} x {device}"
        measured = (
            f"{fmt.count(self.parameters)} parameters on {where}, {', '.join(how)}, {training.batch} "
            f"sequences of {self.config.model.context:,} tokens per step, measured on {self.day}: "
            f"{self.measured}."
        )
        predicted = (
            f"The planner predicts for the catalog's {self.catalog} (projected): {self.predicted}."
            if self.predicted
            else "There is no prediction, as the planner's catalog does not have this device."
        )
        return [measured, predicted]


def measure_throughput(config: RunConfig, device: str = "cuda", gpu: str = "") -> Throughput:
    """Train on random sequences, and time the steps after the warm-up.

    Args:
        config: Settings of the training.
        device: `cuda`, or `cpu` to try it without a GPU.
        gpu: The device's name in the planner's catalog; empty to derive it from the driver's name.

    Returns:
        The measurement and the prediction.

    Raises:
        UserError: If there is no GPU, or too few steps.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "torch finds no GPU: run this on a machine with a GPU and with torch for CUDA "
            "(make setup-distributed TORCH=cuda), or try it on the CPU with --device cpu."
        )
    if config.training.steps <= WARM_UP + 1:
        raise UserError(
            f"training.steps is {config.training.steps}, but the first {WARM_UP} are not timed: set at least "
            f"{WARM_UP + 2}."
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
    """Return the planner's description of a model of this package."""
    return Model(
        layers=model.layers, hidden=model.width, heads=model.heads, ffn=4 * model.width,
        vocab=model.vocabulary, positions=model.context, gated=False,
    )  # fmt: skip


def predict(config: RunConfig, accelerator: Accelerator) -> Speed:
    """Predict the throughput of a training and the memory of its fullest device."""
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
    shape: Model, config: RunConfig, seconds: float, memory_gib: float | None, accelerator: Accelerator | None
) -> Speed:
    rate = config.training.batch * config.model.context / seconds
    tflops = rate / config.training.parallel.processes * shape.flops_per_token(config.model.context) / 1e12
    return Speed(rate, mfu(tflops, accelerator) if accelerator else None, memory_gib)


def write_record(found: Throughput, path: Path) -> Path:
    """Write the measurement with its sentences, for the design book and the demonstration's page."""
    record = asdict(found) | {"config": found.config.model_dump(), "sentences": found.sentences()}
    return write_text(path, json.dumps({"label": "measured here"} | record, indent=1) + "\n")
