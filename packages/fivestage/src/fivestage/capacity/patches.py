"""Write a plan as kustomize patches, in files that contain nothing else."""

from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from fivestage.capacity.inputs import Assumptions
from fivestage.capacity.plan import CapacityPlan
from fivestage.common.errors import UserError
from fivestage.common.files import write_text
from fivestage.common.settings import ROOT
from fivestage.contract.contract import Contract

K8S = ROOT / "k8s"
HEAD = "# Written by `make size`, from the contract, k8s/assumptions.yaml and the measured service.\n"
SERVING = """\
# Only the Deployment, so that the canary can reuse it, and its size.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - deployment.yaml
patches:
  - patch: |
{}"""
WEEK, SHORT_MONTH = 7, 28
MONITOR_HOUR, LAST_HOUR = 6, 23


def patches(contract: Contract, plan: CapacityPlan, assumed: Assumptions) -> dict[str, str]:
    """Return the files of patches that set a plan's numbers in the manifests, by path."""
    target = {"type": "Utilization", "averageUtilization": plan.target}
    autoscaler = {
        "minReplicas": plan.replicas,
        "maxReplicas": plan.most,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    container = _container("serving", plan.cpu_millicores, plan.memory_mib)
    serving = {"template": {"spec": {"containers": [container]}}}
    days = contract.monitoring.period_days
    hours = -(-_deadline(contract, assumed) // 3600)
    retrain_hour = min(MONITOR_HOUR + hours, LAST_HOUR)  # after the monitoring job has decided
    return {
        "base/serving/kustomization.yaml": HEAD
        + SERVING.format(
            indent(yaml.safe_dump(_patch("apps/v1", "Deployment", "fivestage", serving)), " " * 6)
        ),
        "base/size.yaml": _text(
            _patch("autoscaling/v2", "HorizontalPodAutoscaler", "fivestage", autoscaler),
            _job("monitor", every_days(days, MONITOR_HOUR), contract, assumed),
            _job("retrain", every_days(days, retrain_hour), contract, assumed),
        ),
    }


def every_days(days: int, hour: int) -> str:
    """Return the cron schedule of a job for periods of `days` days: daily unless they are a week or a month.

    Cron cannot count other periods, and a job that finds no completed one ends at once.
    """
    if days == WEEK:
        return f"0 {hour} * * 1"
    return f"0 {hour} 1 * *" if days >= SHORT_MONTH else f"0 {hour} * * *"


def write(texts: dict[str, str], folder: Path = K8S) -> None:
    """Write the patches to the folder of the manifests."""
    for name, text in texts.items():
        write_text(folder / name, text)


def require_current(texts: dict[str, str], folder: Path = K8S) -> None:
    """Raise if the manifests differ from these patches."""
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            raise UserError(
                f"{path} no longer matches the contract and the measured capacity: run `make size`."
            )


def _job(name: str, schedule: str, contract: Contract, assumed: Assumptions) -> dict[str, Any]:
    resources = assumed.pipelines
    container = _container(name, resources.cpu_millicores, resources.memory_mib)
    job = {
        "activeDeadlineSeconds": _deadline(contract, assumed),
        "template": {"spec": {"containers": [container]}},
    }
    return _patch(
        "batch/v1", "CronJob", f"fivestage-{name}", {"schedule": schedule, "jobTemplate": {"spec": job}}
    )


def _deadline(contract: Contract, assumed: Assumptions) -> int:
    """Seconds after which a job counts as stuck."""
    return round(contract.budget.training_minutes * 60 * assumed.training_times)


def _container(name: str, cpu_millicores: int, memory_mib: int) -> dict[str, Any]:
    # No CPU limit: a node's spare CPU shortens the queue, and throttling the event loop lengthens the tail.
    memory = f"{memory_mib}Mi"
    requests = {"cpu": f"{cpu_millicores}m", "memory": memory}
    return {"name": name, "resources": {"requests": requests, "limits": {"memory": memory}}}


def _patch(version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _text(*documents: dict[str, Any]) -> str:
    return HEAD + yaml.safe_dump_all(documents, sort_keys=False)
