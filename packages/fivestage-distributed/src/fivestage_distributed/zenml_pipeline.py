"""The training as a ZenML pipeline of one `CommandStep`: here, in local processes, or in pods, by settings.

ZenML's Kubernetes step operator makes an Indexed Job of `pods` pods and a headless Service, and names them in
the environment, which `fivestage_distributed.launch` reads. Such a step has no inputs, outputs or cache,
and its Job no retries: a lost pod ends it, and the next run goes on from the newest complete checkpoint.
"""

from __future__ import annotations

import sys
from typing import Any

from zenml import CommandStep, pipeline


def training_step(config: str, data: str, output: str, pods: int = 1, operator: str = "") -> CommandStep:
    """A step that trains as a file of settings says."""
    if pods > 1 and not operator:
        raise ValueError(f"{pods} pods need the name of a Kubernetes step operator of the stack")
    settings: dict[str, Any] = {"step_operator.kubernetes": {"pod_count": pods}} if operator else {}
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


@pipeline(dynamic=True, enable_cache=False)  # type: ignore[untyped-decorator]  # a static one needs an operator
def distributed_training(config: str, data: str, output: str, pods: int = 1, operator: str = "") -> None:
    """Train; run it again after a failure, and it goes on."""
    training_step(config, data, output, pods, operator)()
