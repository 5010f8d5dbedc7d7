"""Divides a model among processes with torch's DDP, FSDP2, tensor parallelism and pipeline stages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from fivestage_distributed.checkpoints import load_parameters
from fivestage_distributed.configuration import ModelConfig, ParallelConfig, TrainingConfig
from fivestage_distributed.model import Transformer, initial_model

TENSOR_PARALLEL = {  # Shoeybi et al. 2019: columns, then rows, so that a block needs two all-reduces
    "attention.query": ColwiseParallel(),
    "attention.key": ColwiseParallel(),
    "attention.value": ColwiseParallel(),
    "attention.output": RowwiseParallel(),
    "up": ColwiseParallel(),
    "down": RowwiseParallel(),
}


@dataclass(frozen=True)
class Part:
    """The part of a model that one process holds."""

    mesh: DeviceMesh  # all processes, by pipeline stage, replica, shard and tensor rank
    # this process's stages by number; one stage is the whole model without a pipeline
    stages: dict[int, Transformer]
    wrapped: dict[int, nn.Module]  # the modules to call, by stage: DDP's wrappers, or the stages themselves

    @property
    def data_rank(self) -> int:
        """Index of this process's part among the `dp` parts of a batch."""
        rank: int = self.mesh["replicate"].get_local_rank() * self.mesh["shard"].size()
        return rank + int(self.mesh["shard"].get_local_rank())

    def load(self, folder: Path) -> None:
        """Load only the parameters of the newest complete checkpoint in a folder."""
        load_parameters(self.parameters(), folder)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters by their names in the whole model."""
        return {name: one for stage in self.stages.values() for name, one in stage.named_parameters()}


def mesh_of(parallel: ParallelConfig, device: str) -> DeviceMesh:
    """Arrange all processes in a mesh; tensor parallel ranks are neighbours, as they communicate most."""
    replicas = parallel.dp if parallel.zero < 2 else parallel.replicas  # noqa: PLR2004
    sizes = (parallel.pp, replicas, parallel.dp // replicas, parallel.tp)
    return init_device_mesh(device, sizes, mesh_dim_names=("pipeline", "replicate", "shard", "tensor"))


def divide(model: ModelConfig, training: TrainingConfig, device: torch.device) -> Part:
    """Create this process's part of a model whose initial parameters depend only on the seed."""
    parallel = training.parallel
    mesh = mesh_of(parallel, device.type)
    rank, stages = int(mesh["pipeline"].get_local_rank()), parallel.pp * parallel.chunks
    own: dict[int, Transformer] = {}
    wrapped: dict[int, nn.Module] = {}
    for number in range(rank, stages, parallel.pp):
        whole = initial_model(model, training.seed, recompute=training.recompute)
        stage = whole.keep_stage(number, stages).to(device)
        if parallel.tp > 1:
            for block in stage.blocks.values():
                parallelize_module(block, mesh["tensor"], TENSOR_PARALLEL)
        if training.compile:
            for block in stage.blocks.values():
                block.compile()
        own[number], wrapped[number] = stage, _data_parallel(stage, training, mesh)
    return Part(mesh, own, wrapped)


def _data_parallel(stage: Transformer, training: TrainingConfig, mesh: DeviceMesh) -> nn.Module:
    parallel = training.parallel
    if parallel.dp == 1:
        return stage
    if parallel.zero < 2:  # noqa: PLR2004
        return DistributedDataParallel(stage, process_group=mesh["replicate"].get_group())
    submesh = mesh["replicate", "shard"] if parallel.replicas > 1 else mesh["shard"]
    options: dict[str, Any] = {"mesh": submesh, "reshard_after_forward": parallel.zero == 3}  # noqa: PLR2004
    if training.precision == "bfloat16":
        options["mp_policy"] = MixedPrecisionPolicy(torch.bfloat16, torch.float32)
    for block in stage.blocks.values():
        fully_shard(block, **options)
    fully_shard(stage, **options)  # changes its class in place
    return stage


def optimizer_of(part: Part, training: TrainingConfig) -> torch.optim.Optimizer:
    """Create AdamW for a part's parameters; with zero 1 its state is sharded."""
    settings: dict[str, Any] = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    parameters = list(part.parameters().values())
    if training.parallel.zero == 1 and training.parallel.dp > 1:
        group = part.mesh["replicate"].get_group()
        return ZeroRedundancyOptimizer(parameters, torch.optim.AdamW, process_group=group, **settings)
    by_mesh: dict[DeviceMesh | None, list[nn.Parameter]] = {}  # AdamW updates those of a mesh together
    for one in parameters:
        by_mesh.setdefault(one.device_mesh if isinstance(one, DTensor) else None, []).append(one)
    return torch.optim.AdamW([{"params": group} for group in by_mesh.values()], **settings)


@contextlib.contextmanager
def gradient_sync(module: nn.Module, *, enabled: bool) -> Iterator[None]:
    """Turn gradient synchronisation on or off; only the last accumulated microbatch needs it."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(enabled)
    no_sync = module.no_sync() if isinstance(module, DistributedDataParallel) and not enabled else None
    with no_sync or contextlib.nullcontext():
        yield
