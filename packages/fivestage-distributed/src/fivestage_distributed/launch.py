"""Start a training on this node: one process, several by `torchrun`, or one node of several."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fivestage.common.errors import UserError
from fivestage_distributed.configuration import load_config
from fivestage_distributed.environment import Node, torchrun_arguments, torchrun_environment

RESTARTS = 10


def command(config: Path, worker: Sequence[str], node: Node) -> list[str]:
    """The words that start a node's part of a training.

    Args:
        config: the file of settings, whose `parallel` says how many processes there are on all nodes.
        worker: arguments of `fivestage_distributed.worker` after the file of settings.
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
    module = ["-m", "fivestage_distributed.worker", str(config), *worker]
    if processes == 1:
        return [sys.executable, *module]
    options = torchrun_arguments(node, each, RESTARTS)
    return [sys.executable, "-m", "torch.distributed.run", *options, *module]


def launch(config: Path, worker: Sequence[str]) -> None:
    """Become the command, in the environment that the cluster, or a person, has made."""
    words = command(config, worker, Node.read())
    os.execve(words[0], words, torchrun_environment())  # noqa: S606 (no shell is wanted)
