"""Where a process is among the others: the one file that reads the environment.

`torchrun` says it in RANK, WORLD_SIZE and LOCAL_RANK; a process without them is alone. On a cluster a pod
starts `torchrun` as one node of several: ZenML's step operator and an Indexed Job say which.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from fivestage.common.errors import UserError


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
        """As the cluster tells it: ZenML's names, or our own Job's; one node where it tells nothing.

        Raises:
            UserError: where there are several nodes, and it is not told which one this is.
        """
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
    """How `torchrun` is started on a node.

    Args:
        node: which one of how many.
        processes: of this node.
        restarts: how often workers are started again before the node gives up.

    Returns:
        The arguments before the script's name.
    """
    same = [f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    if node.count == 1:
        return ["--standalone", *same]
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
