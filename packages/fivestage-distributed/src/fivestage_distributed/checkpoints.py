"""Checkpoints by torch's DCP: sharded, written beside the training, complete once their metadata is there."""

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

METADATA = ".metadata"  # which DCP writes last, by a rename
STEP = "step-"


def complete_steps(folder: Path) -> list[int]:
    """The steps of the complete checkpoints below a folder, the oldest first."""
    return sorted(int(path.parent.name.removeprefix(STEP)) for path in folder.glob(f"{STEP}*/{METADATA}"))


def folder_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return folder / f"{STEP}{step:08d}"


class Checkpoints:
    """Saves and restores one training, whatever the number of processes was and is."""

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
        self._group = dist.new_group(backend="gloo")  # of its own: it is used beside the training

    def save(self, step: int) -> None:
        """Copy the state, and write it while the training goes on; waits for the checkpoint before it."""
        self.wait()
        found = dcp.async_save(
            self._state(step), checkpoint_id=folder_of(self.folder, step), process_group=self._group
        )
        if not isinstance(found, Future):
            raise TypeError("async_save was expected to return a future")
        self._running = found

    def wait(self) -> None:
        """Until the last checkpoint is complete; older ones than `keep` are removed then."""
        if self._running is None:
            return
        self._running.result()
        self._running = None
        if dist.get_rank() == 0:
            for step in complete_steps(self.folder)[: -self._training.keep]:
                (folder_of(self.folder, step) / METADATA).unlink()  # first of all no longer complete
                shutil.rmtree(folder_of(self.folder, step))

    def restore(self) -> int:
        """Load the newest complete checkpoint into the parameters and the optimizer."""
        newest = torch.tensor(max(complete_steps(self.folder), default=0))
        dist.broadcast(newest, 0, group=self._group)  # a folder may look different from another node
        if not newest:
            return 0
        state = self._state(0)
        dcp.load(state, checkpoint_id=folder_of(self.folder, int(newest)), process_group=self._group)
        step, batch, seed = state["order"].tolist()
        if (batch, seed) != (self._training.batch, self._training.seed):
            raise UserError(
                f"The checkpoint in {self.folder} is of batches of {batch} and seed {seed}, the settings of "
                f"{self._training.batch} and {self._training.seed}: the order of the data would be another. "
                "Name another folder, or take its settings."
            )
        return int(step)

    def _state(self, step: int) -> dict[str, Any]:
        """Parameters and optimizer state by the parameters' names, and the place in the order of the data.

        A process names what it has: DCP puts parts and copies of several processes together, and takes them
        apart for as many as load them.
        """
        order = torch.tensor([step, self._training.batch, self._training.seed])
        return {
            "model": {name: one.detach() for name, one in self._parameters.items()},
            "optimizer": _optimizer_state(self._optimizer, self._parameters),
            "order": order,
        }


def load_parameters(parameters: Mapping[str, nn.Parameter], folder: Path) -> None:
    """Bring the parameters of the newest complete checkpoint into a model, whole or a part."""
    steps = complete_steps(folder)
    if not steps:
        raise UserError(f"{folder} holds no complete checkpoint.")
    state = {"model": {name: one.detach() for name, one in parameters.items()}}
    dcp.load(state, checkpoint_id=folder_of(folder, steps[-1]))


def _optimizer_state(
    optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]
) -> dict[str, torch.Tensor]:
    """AdamW's state, made before the first step as after it; under ZeRO-1 of this process's parameters."""
    own = optimizer.optim if isinstance(optimizer, ZeroRedundancyOptimizer) else optimizer
    names = {parameter: name for name, parameter in parameters.items()}
    found = {}
    for parameter in (one for group in own.param_groups for one in group["params"]):
        state = own.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter, requires_grad=False)
            state["exp_avg_sq"] = torch.zeros_like(parameter, requires_grad=False)
        found.update({f"{names[parameter]}.{key}": value for key, value in state.items()})
    return found
