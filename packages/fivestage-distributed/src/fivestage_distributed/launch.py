"""Start a training on this node, in one process, in several or as one node of several; and do its work."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fivestage.common.errors import UserError
from fivestage_distributed.configuration import load_config
from fivestage_distributed.environment import Node, Place, torchrun_arguments, torchrun_environment
from fivestage_distributed.sequences import Sequences

RESTARTS = 10
LOSSES = "losses.jsonl"
WORKER = ("-m", "fivestage_distributed", "worker")


def command(config: Path, worker: Sequence[str], node: Node) -> list[str]:
    """The words that start a node's part of a training.

    Args:
        config: the file of settings, whose `parallel` says how many processes there are on all nodes.
        worker: arguments of `fivestage_distributed worker` after the file of settings.
        node: which one of how many.

    Returns:
        A command; one process alone needs no `torchrun`.

    Raises:
        UserError: the processes cannot be divided evenly among the nodes.
    """
    processes = load_config(config).training.parallel.processes
    each, rest = divmod(processes, node.count)
    if rest:
        raise UserError(f"{config}: {processes} processes cannot be divided evenly among {node.count} nodes.")
    module = [*WORKER, str(config), *worker]
    if processes == 1:
        return [sys.executable, *module]
    options = torchrun_arguments(node, each, RESTARTS)
    return [sys.executable, "-m", "torch.distributed.run", *options, *module]


def launch(config: Path, worker: Sequence[str]) -> None:
    """Become the command, in the environment that the cluster, or a person, has made."""
    words = command(config, worker, Node.read())
    os.execve(words[0], words, torchrun_environment())  # noqa: S606 (no shell is wanted)


def work(config: Path, data: Path, output: Path, pause: float = 0.0, parameters: Path | None = None) -> None:
    """What one process of a training does: train, and append each step's loss to a log in the output folder.

    Args:
        config: the file of settings.
        data: sequences.npz, with inputs and targets.
        output: folder of checkpoints and losses.
        pause: seconds to sleep after a step, to be killed in.
        parameters: folder of checkpoints whose parameters come first; None: the seed's.
    """
    import torch.distributed as dist  # whoever only starts `torchrun` needs no torch

    from fivestage_distributed.training import process_group, train

    run = load_config(config)
    with np.load(data) as arrays:
        sequences = Sequences(arrays["inputs"], arrays["targets"])
    output.mkdir(parents=True, exist_ok=True)
    restarts = Place.read().restarts

    def report(step: int, loss: float) -> None:
        if dist.get_rank() == 0:
            line = {"step": step, "loss": loss, "time": time.time(), "restarts": restarts}
            with (output / LOSSES).open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        time.sleep(pause)

    with process_group() as device:
        done = train(
            run.model,
            run.training,
            sequences,
            device,
            folder=output,
            begin=None if parameters is None else lambda part: part.load(parameters),
            report=report,
        )
        if dist.get_rank() == 0:
            found = {"blocked": done.blocked, "first": done.first}
            (output / "done.json").write_text(json.dumps(found), encoding="utf-8")
