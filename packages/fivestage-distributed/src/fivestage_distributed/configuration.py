"""What a training is told: the model, how it is divided among processes, and how long it trains. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from fivestage.common.errors import UserError
from fivestage.contract.strict_model import StrictModel

Count = Annotated[int, Field(ge=1)]
CHUNKS = 2  # stages of one process in the interleaved schedule


class ModelConfig(StrictModel):
    """A decoder-only transformer.

    Args:
        vocabulary: number of tokens.
        context: positions of a sequence.
        layers: blocks.
        heads: of attention; they divide the width.
        width: of the residual stream.
    """

    vocabulary: Count
    context: Count
    layers: Count = 4
    heads: Count = 4
    width: Count = 64

    @model_validator(mode="after")
    def heads_divide_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class ParallelConfig(StrictModel):
    """How a model and its batches are divided; dp x tp x pp processes are needed.

    Args:
        dp: groups of processes that see different rows of a batch.
        zero: what they divide: 0 nothing (DDP), 1 optimizer state, 2 gradients too, 3 parameters too.
        replicas: of zero 2 and 3: so many copies of what is divided (HSDP); they divide dp.
        tp: processes that divide each matrix.
        pp: processes that divide the layers.
        schedule: of the pipeline.
        microbatches: into which each process divides its rows: a pipeline's, or accumulated gradients.
    """

    dp: Count = 1
    zero: Literal[0, 1, 2, 3] = 0
    replicas: Count = 1
    tp: Count = 1
    pp: Count = 1
    schedule: Literal["gpipe", "1f1b", "interleaved"] = "1f1b"
    microbatches: Count = 1

    @property
    def processes(self) -> int:
        """How many it takes."""
        return self.dp * self.tp * self.pp

    @property
    def chunks(self) -> int:
        """Stages of one process."""
        return CHUNKS if self.pp > 1 and self.schedule == "interleaved" else 1

    @model_validator(mode="after")
    def parts_fit(self) -> Self:
        if self.dp % self.replicas:
            raise ValueError(f"dp {self.dp} is not a multiple of replicas {self.replicas}")
        if self.replicas > 1 and self.zero < 2:  # noqa: PLR2004 (as the paper numbers them)
            raise ValueError("replicas are of zero 2 and 3: zero 0 and 1 replicate the parameters anyway")
        if self.tp > 1 and self.dp > 1 and self.zero < 2:  # noqa: PLR2004
            raise ValueError("tp beside dp takes zero 2 or 3: DDP does not average tensors divided by tp")
        if self.microbatches < self.pp:
            raise ValueError(f"a pipeline of {self.pp} stages takes {self.pp} microbatches or more")
        return self


class TrainingConfig(StrictModel):
    """One training.

    Args:
        steps: updates of the parameters.
        batch: sequences of an update, of all processes together.
        learning_rate: AdamW's highest, reached after `warmup` steps, falling to a tenth by a cosine.
        warmup: steps.
        weight_decay: AdamW's.
        seed: of the first parameters and of the order of the data.
        precision: of the arithmetic; parameters and optimizer stay in float32.
        recompute: activations are computed again in the backward pass rather than kept.
        compile: blocks are compiled.
        parallel: how it is divided.
        checkpoint_every: steps between checkpoints; 0: none.
        keep: newest checkpoints that stay.
    """

    steps: Count
    batch: Count = 32
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    warmup: Annotated[int, Field(ge=0)] = 10
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    recompute: bool = False
    compile: bool = False
    parallel: ParallelConfig = ParallelConfig()
    checkpoint_every: Annotated[int, Field(ge=0)] = 0
    keep: Count = 2

    @model_validator(mode="after")
    def batch_is_divided_evenly(self) -> Self:
        parts = self.parallel.dp * self.parallel.microbatches
        if self.batch % parts:
            raise ValueError(
                f"batch {self.batch} is not a multiple of dp x microbatches = {parts}: "
                "each process takes equally many rows"
            )
        return self


class RunConfig(StrictModel):
    """A file of settings: the model and its training."""

    model: ModelConfig
    training: TrainingConfig


def load_config(path: Path) -> RunConfig:
    """The settings of a YAML file."""
    try:
        return RunConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise UserError(f"{path}: {error}") from error
