"""The training as a ZenML pipeline of one `CommandStep`: here, in local processes, or in pods, by settings.

ZenML's Kubernetes step operator makes an Indexed Job of `pods` pods and a headless Service, and names them in
the environment, which `fivestage_distributed.launch` reads. Such a step has no inputs, outputs or cache,
and its Job no retries: a lost pod ends it, and the next run goes on from the newest complete checkpoint.
"""

from __future__ import annotations

import sys
from typing import Any

from zenml import CommandStep, pipeline
from zenml.config import DockerSettings

NAME = "distributed_training"
IMAGE = "fivestage-distributed:latest"  # of the pods: docs/cluster.md


def training_step(
    config: str, data: str, output: str, pods: int = 1, operator: str = "", image: str = IMAGE
) -> CommandStep:
    """A step that trains as a file of settings says."""
    if pods > 1 and not operator:
        raise ValueError(f"{pods} pods need the name of a Kubernetes step operator of the stack")
    settings: dict[str, Any] = {}
    if operator:  # no image is built: nothing of ZenML runs in the pods
        settings["step_operator.kubernetes"] = {"pod_count": pods}
        settings["docker"] = DockerSettings(parent_image=image, skip_build=True)
    return CommandStep(
        command=[
            "python" if operator else sys.executable,
            "-m",
            "fivestage_distributed",
            "train",
            config,
            data,
            output,
        ],
        name="train_on_many_workers",
        step_operator=operator or None,
        settings=settings,
    )


def distributed_training(
    config: str, data: str, output: str, pods: int = 1, operator: str = "", image: str = IMAGE
) -> Any:
    """Run the step as a pipeline; run it again after a failure, and it goes on.

    Args:
        config: file of settings, as all processes see it.
        data: sequences.npz, likewise.
        output: folder of checkpoints and losses, likewise.
        pods: how many; they divide the processes that `parallel` names.
        operator: name of the stack's Kubernetes step operator; empty: no pods, but processes of this machine.
        image: of the pods.

    Returns:
        ZenML's record of the run.
    """
    if operator:
        return _in_pods(config, data, output, pods, operator, image)
    return _here(config, data, output, pods)


# ZenML 0.98 runs a command here in a dynamic pipeline alone, and knows an operator's image in a static one.
@pipeline(name=NAME, dynamic=True, enable_cache=False)  # type: ignore[untyped-decorator]
def _here(config: str, data: str, output: str, pods: int) -> None:
    training_step(config, data, output, pods)()


@pipeline(name=NAME, enable_cache=False)  # type: ignore[untyped-decorator]
def _in_pods(config: str, data: str, output: str, pods: int, operator: str, image: str) -> None:
    training_step(config, data, output, pods, operator, image)()
