"""Starts a training in one process, in several, or on one node of several; and runs a worker process.

Only this module reads the environment. `torchrun` passes a process its rank in RANK, WORLD_SIZE and
LOCAL_RANK; without them there is only one process. On a cluster each pod starts `torchrun` as one node;
ZenML's step operator or an Indexed Job sets the node's index.
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
class WorkerRank:
    """The rank of this process among all processes of the training."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    restarts: int = 0

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> WorkerRank:
        """Read it from the variables that `torchrun` sets."""
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
    """One node of a training; `address` is that of node 0, which hosts the rendezvous."""

    index: int = 0
    count: int = 1
    address: str = "localhost"
    port: int = 29_400

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Node:
        """Read it from the variables of ZenML or of our own Job; without them there is one node."""
        for count, address, port in (
            ("ZENML_KUBERNETES_POD_COUNT", "ZENML_KUBERNETES_MAIN_ADDRESS", "ZENML_KUBERNETES_MAIN_PORT"),
            ("NODE_COUNT", "MAIN_ADDRESS", "MAIN_PORT"),
        ):
            nodes = int(environment.get(count, 1))
            if nodes == 1:
                continue
            if "JOB_COMPLETION_INDEX" not in environment:
                raise UserError(
                    f"{count} is {nodes}, but JOB_COMPLETION_INDEX is not set: run it as an Indexed Job."
                )
            index = int(environment["JOB_COMPLETION_INDEX"])
            return cls(index, nodes, environment[address], int(environment.get(port, cls.port)))
        return cls()


def torchrun_arguments(node: Node, processes: int, restarts: int) -> list[str]:
    """Return the arguments of `torchrun` on a node."""
    common = [f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    if node.count == 1:
        return ["--standalone", "--local-addr=localhost", *common]  # a container may not resolve its own name
    is_host = "true" if node.index == 0 else "false"  # inferring it from the host name can fail
    return [
        f"--nnodes={node.count}",
        *common,
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={node.address}:{node.port}",
        "--rdzv-id=fivestage",
        f"--rdzv-conf=is_host={is_host},join_timeout=600",
    ]


def torchrun_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an environment for `torchrun` in which restarts work.

    The workers must not share the store of the rendezvous: restarted workers would find the keys of the
    previous ones.
    """
    defaults = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
    return {**defaults, **environment}


def command(config: Path, worker: Sequence[str], node: Node) -> list[str]:
    """Return the command that starts a node's part of a training."""
    processes = load_config(config).training.parallel.processes
    per_node, remainder = divmod(processes, node.count)
    if remainder:
        raise UserError(f"{config}: {processes} processes cannot be divided evenly among {node.count} nodes.")
    module = [*WORKER, str(config), *worker]
    if processes == 1:
        return [sys.executable, *module]
    options = torchrun_arguments(node, per_node, RESTARTS)
    return [sys.executable, "-m", "torch.distributed.run", *options, *module]


def launch(config: Path, worker: Sequence[str]) -> None:
    """Replace this process with the command that starts this node's part of a training."""
    arguments = command(config, worker, Node.read())
    os.execve(arguments[0], arguments, torchrun_environment())  # noqa: S606 (no shell needed)


def prepare(folder: Path, config: RunConfig, inputs: Ints, targets: Ints) -> tuple[Path, Path]:
    """Write the settings and the sequences of a training; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, data = folder / "run.yaml", folder / "sequences.npz"
    settings.write_text(yaml.safe_dump(config.model_dump()), encoding="utf-8")
    np.savez(data, inputs=inputs, targets=targets)
    return settings, data


def run_training(
    folder: Path, config: RunConfig, inputs: Ints, targets: Ints, parameters: Path | None = None
) -> None:
    """Run a training to its end, in this process or in as many as `parallel` requires.

    Args:
        folder: Folder for settings, sequences, checkpoints and losses.
        config: The settings.
        inputs: Tokens, sequences x positions.
        targets: Target tokens in the same shape.
        parameters: Folder of checkpoints with the initial parameters; None to initialise from the seed.
    """
    settings, data = prepare(folder, config, inputs, targets)
    if config.training.parallel.processes == 1:
        work(settings, data, folder, parameters=parameters)
        return
    arguments = [str(data), str(folder), *([f"--parameters-of={parameters}"] if parameters else [])]
    subprocess.run(command(settings, arguments, Node()), env=torchrun_environment(), check=True)  # noqa: S603 (our own)


def losses_of(folder: Path) -> list[dict[str, float]]:
    """Read the log of a training; a step that was repeated has several lines."""
    path = folder / LOSSES
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def work(config: Path, data: Path, output: Path, pause: float = 0.0, parameters: Path | None = None) -> None:
    """Run one process of a training; rank 0 appends the loss of each step to a log in the output folder.

    Args:
        config: The settings file.
        data: sequences.npz with inputs and targets.
        output: Folder for checkpoints and losses.
        pause: Seconds to sleep after each step, so that a test can kill the process there.
        parameters: Folder of checkpoints with the initial parameters; None to initialise from the seed.
    """
    import torch  # imported here, as starting `torchrun` does not need it
    import torch.distributed as dist

    from fivestage_distributed.training import Sequences, process_group, train

    run = load_config(config)
    with np.load(data) as arrays:
        sequences = Sequences(arrays["inputs"], arrays["targets"])
    output.mkdir(parents=True, exist_ok=True)
    restarts = WorkerRank.read().restarts

    def report(step: int, loss: float) -> None:
        if dist.get_rank() == 0:
            line = {"step": step, "loss": loss, "time": time.time(), "restarts": restarts}
            with (output / LOSSES).open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        time.sleep(pause)

    with process_group() as device:
        trained = train(
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
            record = {
                "blocked": trained.blocked,
                "first": trained.first,
                "device": name,
                "memory": int(memory),
            }
            (output / FINISHED).write_text(json.dumps(record), encoding="utf-8")
