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
    """Sizes of a decoder-only transformer.

    Args:
        vocabulary: Number of distinct tokens.
        context: Tokens per sequence.
        layers: Number of blocks.
        heads: Attention heads; the width must be a multiple of them.
        width: Width of the residual stream.
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
    """The parallel layout of a training on dp x tp x pp processes.

    Args:
        dp: Data parallel: parts of a batch that are processed in parallel.
        zero: What dp shards: 0 nothing (DDP), 1 optimizer state, 2 also gradients, 3 also parameters.
        replicas: With zero 2 or 3, copies of the shards (HSDP); dp must be a multiple of them.
        tp: Tensor parallel: processes that share each matrix.
        pp: Pipeline parallel: processes that share the layers.
        schedule: Schedule of the pipeline.
        microbatches: Microbatches per process, for the pipeline or for gradient accumulation.
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
    """Settings of one training.

    Args:
        steps: Number of parameter updates.
        batch: Global batch size in sequences.
        learning_rate: Peak learning rate of AdamW after the warm-up; a cosine then reduces it to a tenth.
        warmup: Steps of linear warm-up.
        weight_decay: Weight decay of AdamW.
        seed: Seed of the initial parameters and of the order of the data.
        precision: Precision of the arithmetic; parameters and optimizer state stay in float32.
        recompute: Whether to recompute activations in the backward pass instead of keeping them.
        compile: Whether to compile the blocks.
        parallel: The parallel layout.
        checkpoint_every: Steps between checkpoints; 0 for none.
        keep: Number of newest checkpoints to keep.
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
