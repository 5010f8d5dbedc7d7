"""Settings of a training: the model, its parallel layout, and the optimisation. It does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from fivestage.common.errors import UserError
from fivestage.contract.strict_model import StrictModel

Count = Annotated[int, Field(ge=1)]
CHUNKS = 2  # stages per process in the interleaved schedule


class ModelConfig(StrictModel):
    """Sizes of a decoder-only transformer."""

    vocabulary: Count  # number of distinct tokens
    context: Count  # tokens per sequence
    layers: Count = 4  # number of blocks
    heads: Count = 4  # attention heads; the width must be a multiple of them
    width: Count = 64  # width of the residual stream

    @model_validator(mode="after")
    def heads_divide_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class ParallelConfig(StrictModel):
    """The parallel layout of a training on dp x tp x pp processes."""

    dp: Count = 1  # data parallel: parts of a batch that are processed in parallel
    # what dp shards: 0 nothing (DDP), 1 optimizer state, 2 also gradients, 3 also parameters
    zero: Literal[0, 1, 2, 3] = 0
    replicas: Count = 1  # with zero 2 or 3, copies of the shards (HSDP); dp must be a multiple of them
    tp: Count = 1  # tensor parallel: processes that share each matrix
    pp: Count = 1  # pipeline parallel: processes that share the layers
    schedule: Literal["gpipe", "1f1b", "interleaved"] = "1f1b"  # schedule of the pipeline
    microbatches: Count = 1  # microbatches per process, for the pipeline or for gradient accumulation

    @property
    def processes(self) -> int:
        """Number of processes."""
        return self.dp * self.tp * self.pp

    @property
    def chunks(self) -> int:
        """Stages per process."""
        return CHUNKS if self.pp > 1 and self.schedule == "interleaved" else 1

    @model_validator(mode="after")
    def parts_fit(self) -> Self:
        if self.dp % self.replicas:
            raise ValueError(f"dp {self.dp} is not a multiple of replicas {self.replicas}")
        if self.replicas > 1 and self.zero < 2:  # noqa: PLR2004 (as the paper numbers them)
            raise ValueError("replicas need zero 2 or 3: zero 0 and 1 replicate the parameters anyway")
        if self.tp > 1 and self.dp > 1 and self.zero < 2:  # noqa: PLR2004
            raise ValueError("tp with dp needs zero 2 or 3: DDP does not average tensors sharded by tp")
        if self.microbatches < self.pp:
            raise ValueError(f"a pipeline of {self.pp} stages needs at least {self.pp} microbatches")
        return self


class TrainingConfig(StrictModel):
    """Settings of one training."""

    steps: Count  # number of parameter updates
    batch: Count = 32  # global batch size in sequences
    # peak learning rate of AdamW after the warm-up; a cosine then reduces it to a tenth
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    warmup: Annotated[int, Field(ge=0)] = 10  # steps of linear warm-up
    weight_decay: Annotated[float, Field(ge=0)] = 0.01  # weight decay of AdamW
    seed: int = 0  # seed of the initial parameters and of the order of the data
    # precision of the arithmetic; parameters and optimizer state stay in float32
    precision: Literal["float32", "bfloat16"] = "float32"
    recompute: bool = False  # whether to recompute activations in the backward pass instead of keeping them
    compile: bool = False  # whether to compile the blocks
    parallel: ParallelConfig = ParallelConfig()  # the parallel layout
    checkpoint_every: Annotated[int, Field(ge=0)] = 0  # steps between checkpoints; 0 for none
    keep: Count = 2  # number of newest checkpoints to keep

    @model_validator(mode="after")
    def batch_is_divided_evenly(self) -> Self:
        parts = self.parallel.dp * self.parallel.microbatches
        if self.batch % parts:
            raise ValueError(
                f"batch {self.batch} is not a multiple of dp x microbatches = {parts}: "
                "each process needs the same number of rows"
            )
        return self


class RunConfig(StrictModel):
    """The content of a settings file: model and training."""

    model: ModelConfig
    training: TrainingConfig


def load_config(path: Path) -> RunConfig:
    """Load the settings from a YAML file."""
    try:
        return RunConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise UserError(f"{path}: {error}") from error
