"""Sharded checkpoints with torch's DCP, written in the background; complete ones have a metadata file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.optim import ZeroRedundancyOptimizer

from fivestage.common.errors import UserError
from fivestage_distributed.configuration import TrainingConfig

METADATA = ".metadata"  # DCP writes it last, with an atomic rename
STEP = "step-"


def complete_steps(folder: Path) -> list[int]:
    """Return the steps of the complete checkpoints in a folder, the oldest first."""
    return sorted(int(path.parent.name.removeprefix(STEP)) for path in folder.glob(f"{STEP}*/{METADATA}"))


def folder_of(folder: Path, step: int) -> Path:
    """Return the folder of a step's checkpoint."""
    return folder / f"{STEP}{step:08d}"


class Checkpoints:
    """Saves and restores a training; the number of processes may change in between."""

    def __init__(
        self,
        folder: Path,
        parameters: dict[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        training: TrainingConfig,
    ) -> None:
        self.folder = folder
        self._parameters = parameters
        self._optimizer = optimizer
        self._training = training
        self._running: Future[Any] | None = None
        self._group = dist.new_group(backend="gloo")  # separate, for use during training steps

    def save(self, step: int) -> None:
        """Copy the state and write it in the background; waits for the previous checkpoint first."""
        self.wait()
        future = dcp.async_save(
            self._state(step), checkpoint_id=folder_of(self.folder, step), process_group=self._group
        )
        if not isinstance(future, Future):
            raise TypeError("async_save was expected to return a future")
        self._running = future

    def wait(self) -> None:
        """Wait until the last checkpoint is complete, then remove all but the newest `keep`."""
        if self._running is None:
            return
        self._running.result()
        self._running = None
        if dist.get_rank() == 0:
            for step in complete_steps(self.folder)[: -self._training.keep]:
                (folder_of(self.folder, step) / METADATA).unlink()  # first, to mark it incomplete
                shutil.rmtree(folder_of(self.folder, step))

    def restore(self) -> int:
        """Load the newest complete checkpoint, if any; return its step, else 0."""
        newest = torch.tensor(max(complete_steps(self.folder), default=0))
        dist.broadcast(newest, 0, group=self._group)  # other nodes may see the folder differently
        if not newest:
            return 0
        state = self._state(0)
        dcp.load(state, checkpoint_id=folder_of(self.folder, int(newest)), process_group=self._group)
        step, batch, seed = state["order"].tolist()
        if (batch, seed) != (self._training.batch, self._training.seed):
            raise UserError(
                f"The checkpoint in {self.folder} has batch {batch} and seed {seed}, but the settings have "
                f"batch {self._training.batch} and seed {self._training.seed}: the order of the data would "
                "change. "
                "Use another folder, or the checkpoint's settings."
            )
        return int(step)

    def _state(self, step: int) -> dict[str, Any]:
        """Return parameters and optimizer state by parameter name, and the position in the data.

        Each process lists what it holds: DCP merges the shards and copies, and reshards them when loading.
        """
        order = torch.tensor([step, self._training.batch, self._training.seed])
        return {
            "model": {name: one.detach() for name, one in self._parameters.items()},
            "optimizer": _optimizer_state(self._optimizer, self._parameters),
            "order": order,
        }


def load_parameters(parameters: Mapping[str, nn.Parameter], folder: Path) -> None:
    """Load the parameters of the newest complete checkpoint into a whole model or a part of one."""
    steps = complete_steps(folder)
    if not steps:
        raise UserError(f"{folder} has no complete checkpoint.")
    state = {"model": {name: one.detach() for name, one in parameters.items()}}
    dcp.load(state, checkpoint_id=folder_of(folder, steps[-1]))


def _optimizer_state(
    optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]
) -> dict[str, torch.Tensor]:
    """Return AdamW's state, initialised if necessary; with ZeRO-1 only this process's share."""
    own = optimizer.optim if isinstance(optimizer, ZeroRedundancyOptimizer) else optimizer
    names = {parameter: name for name, parameter in parameters.items()}
    states = {}
    for parameter in (one for group in own.param_groups for one in group["params"]):
        state = own.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter, requires_grad=False)
            state["exp_avg_sq"] = torch.zeros_like(parameter, requires_grad=False)
        states.update({f"{names[parameter]}.{key}": value for key, value in state.items()})
    return states
