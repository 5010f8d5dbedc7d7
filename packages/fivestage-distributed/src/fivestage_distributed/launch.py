"""How a training is started on this node, in one process, in several or as one node of several; and its work.

The one file that reads the environment. `torchrun` tells a process its place in RANK, WORLD_SIZE and
LOCAL_RANK; a process without them is alone. On a cluster a pod starts `torchrun` as one node of several:
ZenML's step operator and an Indexed Job say which.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from fivestage.common.columns import Ints
from fivestage.common.errors import UserError
from fivestage_distributed.configuration import RunConfig, load_config

RESTARTS = 10
LOSSES, FINISHED = "losses.jsonl", "done.json"
WORKER = ("-m", "fivestage_distributed", "worker")


@dataclass(frozen=True)
class Place:
    """A process among all."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    restarts: int = 0

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Place:
        """As `torchrun` tells it."""
        return cls(
            *(
                int(environment.get(name, default))
                for name, default in (
                    ("RANK", 0),
                    ("WORLD_SIZE", 1),
                    ("LOCAL_RANK", 0),
                    ("TORCHELASTIC_RESTART_COUNT", 0),
                )
            )
        )


@dataclass(frozen=True)
class Node:
    """A pod among those of one training; `address` is that of node 0, which holds the rendezvous."""

    index: int = 0
    count: int = 1
    address: str = "localhost"
    port: int = 29_400

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Node:
        """As the cluster tells it: ZenML's names, or our own Job's; one node where it tells nothing."""
        for count, address, port in (
            ("ZENML_KUBERNETES_POD_COUNT", "ZENML_KUBERNETES_MAIN_ADDRESS", "ZENML_KUBERNETES_MAIN_PORT"),
            ("NODE_COUNT", "MAIN_ADDRESS", "MAIN_PORT"),
        ):
            nodes = int(environment.get(count, 1))
            if nodes == 1:
                continue
            if "JOB_COMPLETION_INDEX" not in environment:
                raise UserError(
                    f"{count} is {nodes}, but JOB_COMPLETION_INDEX is not set: is it an Indexed Job?"
                )
            index = int(environment["JOB_COMPLETION_INDEX"])
            return cls(index, nodes, environment[address], int(environment.get(port, cls.port)))
        return cls()


def torchrun_arguments(node: Node, processes: int, restarts: int) -> list[str]:
    """How `torchrun` is started on a node."""
    same = [f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    if node.count == 1:
        return ["--standalone", "--local-addr=localhost", *same]  # a container's own name may mean nothing
    holds = "true" if node.index == 0 else "false"  # inference by host name can fail
    return [
        f"--nnodes={node.count}",
        *same,
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={node.address}:{node.port}",
        "--rdzv-id=fivestage",
        f"--rdzv-conf=is_host={holds},join_timeout=600",
    ]


def torchrun_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of `torchrun`, in which restarts work.

    The workers' store must not be the rendezvous' own: a restart would find the keys of the workers before it
    (measured: docs/measured.md).
    """
    own = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
    return {**own, **environment}


def command(config: Path, worker: Sequence[str], node: Node) -> list[str]:
    """The words that start a node's part of a training."""
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


def prepare(folder: Path, config: RunConfig, inputs: Ints, targets: Ints) -> tuple[Path, Path]:
    """Write the settings and the sequences that a training reads; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, data = folder / "run.yaml", folder / "sequences.npz"
    settings.write_text(yaml.safe_dump(config.model_dump()), encoding="utf-8")
    np.savez(data, inputs=inputs, targets=targets)
    return settings, data


def run_training(
    folder: Path, config: RunConfig, inputs: Ints, targets: Ints, parameters: Path | None = None
) -> None:
    """Train to the end: in this process where one is enough, else in as many as `parallel` names.

    Args:
        folder: of the settings, the sequences, the checkpoints and the losses.
        config: the settings.
        inputs: sequences x positions, tokens.
        targets: in the same shape.
        parameters: folder of checkpoints whose parameters come first; None: the seed's.
    """
    settings, data = prepare(folder, config, inputs, targets)
    if config.training.parallel.processes == 1:
        work(settings, data, folder, parameters=parameters)
        return
    given = [str(data), str(folder), *([f"--parameters-of={parameters}"] if parameters else [])]
    subprocess.run(command(settings, given, Node()), env=torchrun_environment(), check=True)  # noqa: S603 (ours)


def losses_of(folder: Path) -> list[dict[str, float]]:
    """The lines that a training has logged so far; steps that were done again are there again."""
    path = folder / LOSSES
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def work(config: Path, data: Path, output: Path, pause: float = 0.0, parameters: Path | None = None) -> None:
    """What one process of a training does: train, and append each step's loss to a log in the output folder.

    Args:
        config: the file of settings.
        data: sequences.npz, with inputs and targets.
        output: folder of checkpoints and losses.
        pause: seconds to sleep after a step, to be killed in.
        parameters: folder of checkpoints whose parameters come first; None: the seed's.
    """
    import torch  # whoever only starts `torchrun` needs no torch
    import torch.distributed as dist

    from fivestage_distributed.training import Sequences, process_group, train

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
        cuda = device.type == "cuda"
        memory = torch.tensor(torch.cuda.max_memory_allocated() if cuda else 0, device=device)
        dist.all_reduce(memory, dist.ReduceOp.MAX)
        if dist.get_rank() == 0:
            name = torch.cuda.get_device_name() if cuda else ""
            found = {"blocked": done.blocked, "first": done.first, "device": name, "memory": int(memory)}
            (output / FINISHED).write_text(json.dumps(found), encoding="utf-8")
