"""The training as a ZenML pipeline with one `CommandStep`, in local processes or in pods.

ZenML's Kubernetes step operator creates an Indexed Job of `pods` pods and a headless Service, and passes the
address of the first pod in the environment, which `fivestage_distributed.launch` reads. Such a step has no
inputs, outputs or cache, and its Job has no retries: a lost pod ends it, and the next run resumes from the
newest complete checkpoint.
"""

from __future__ import annotations

import sys
from typing import Any

from zenml import CommandStep, pipeline
from zenml.config import DockerSettings

NAME = "distributed_training"
IMAGE = "fivestage-distributed:latest"  # of the pods; see docs/cluster.md


def training_step(
    config: str, data: str, output: str, pods: int = 1, operator: str = "", image: str = IMAGE
) -> CommandStep:
    """Return a step that trains with the settings of a file."""
    if pods > 1 and not operator:
        raise ValueError(f"{pods} pods need the name of a Kubernetes step operator in the stack")
    settings: dict[str, Any] = {}
    if operator:  # skip building an image, as ZenML does not run inside the pods
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
    """Run the training as a pipeline; run it again after a failure to resume.

    Args:
        config: Path of the settings file, valid in all processes.
        data: Path of sequences.npz, valid in all processes.
        output: Folder for checkpoints and losses, shared by all processes.
        pods: Number of pods; it must divide the number of processes in `parallel`.
        operator: Name of the stack's Kubernetes step operator; empty to run in local processes.
        image: Image of the pods.

    Returns:
        ZenML's record of the run.
    """
    if operator:
        return _in_pods(config, data, output, pods, operator, image)
    return _here(config, data, output, pods)


# ZenML 0.98 runs local commands in dynamic pipelines only, and knows a step operator's image in static ones.
@pipeline(name=NAME, dynamic=True, enable_cache=False)  # type: ignore[untyped-decorator]
def _here(config: str, data: str, output: str, pods: int) -> None:
    training_step(config, data, output, pods)()


@pipeline(name=NAME, enable_cache=False)  # type: ignore[untyped-decorator]
def _in_pods(config: str, data: str, output: str, pods: int, operator: str, image: str) -> None:
    training_step(config, data, output, pods, operator, image)()
