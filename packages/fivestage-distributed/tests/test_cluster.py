from pathlib import Path
from typing import Any

import pytest
import yaml
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob
from kubernetes.client import ApiClient
from kubernetes_validate import utils
from zenml.integrations.kubernetes.manifest_utils import build_pod_manifest
from zenml.integrations.kubernetes.pod_settings import KubernetesPodSettings

from fivestage_distributed import zenml_pipeline
from fivestage_distributed.launch import Node
from fivestage_distributed.zenml_pipeline import training_step

K8S = Path(__file__).resolve().parents[1] / "k8s"
VERSIONS = ("1.30", "1.37")


def resource(name: str) -> Any:
    return yaml.safe_load((K8S / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "name", ["job/job.yaml", "job/service.yaml", "job/network.yaml", "trainjob/network.yaml"]
)
def test_the_job_and_its_network_are_what_kubernetes_takes(name: str, version: str) -> None:
    assert utils.validate(resource(name), version, strict=True) == version


def test_the_train_job_is_what_kubeflows_api_takes_and_nothing_of_it_is_unknown() -> None:
    told = resource("trainjob/trainjob.yaml")
    typed = TrainerV1alpha1TrainJob.from_dict(told)
    assert typed is not None
    assert typed.to_dict() == told


def test_the_pods_of_the_job_find_the_first_one_by_its_name() -> None:
    job, service = resource("job/job.yaml"), resource("job/service.yaml")
    pod = job["spec"]["template"]["spec"]
    told = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    assert pod["subdomain"] == service["metadata"]["name"]
    node = Node.read(told | {"JOB_COMPLETION_INDEX": "1"})
    assert node == Node(1, job["spec"]["completions"], f"{job['metadata']['name']}-0.{pod['subdomain']}")
    assert node.port == service["spec"]["ports"][0]["port"]
    assert service["spec"]["publishNotReadyAddresses"]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


def test_the_pods_reach_one_another_in_a_namespace_that_lets_nothing_through() -> None:
    labels = resource("job/job.yaml")["spec"]["template"]["metadata"]["labels"]
    jobset = {"jobset.sigs.k8s.io/jobset-name": resource("trainjob/trainjob.yaml")["metadata"]["name"]}
    for folder, worn in (("job", labels), ("trainjob", jobset)):
        kustomization = resource(f"{folder}/kustomization.yaml")
        assert "network.yaml" in kustomization["resources"]
        policy = resource(f"{folder}/network.yaml")["spec"]
        (coming,), (going,) = policy["ingress"], policy["egress"]
        assert coming == {"from": [{"podSelector": {"matchLabels": worn}}]}
        assert going == {"to": [{"podSelector": {"matchLabels": worn}}]}
        assert policy["podSelector"] == {"matchLabels": worn}


def test_the_pods_of_either_are_what_the_namespace_takes() -> None:
    """The Pod Security standard `restricted`."""
    pods = [resource("job/job.yaml")["spec"]["template"]["spec"]]
    (patch,) = resource("trainjob/trainjob.yaml")["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pods.append(node["template"]["spec"]["template"]["spec"])
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_zenml_step_is_the_same_command_here_and_in_pods() -> None:
    here = training_step("run.yaml", "data.npz", "out").configuration
    pods = training_step("run.yaml", "data.npz", "out", pods=4, operator="k8s").configuration
    assert (here.command or [])[1:] == (pods.command or [])[1:]
    assert (here.command or [])[-4:] == ["train", "run.yaml", "data.npz", "out"]
    assert not here.step_operator
    assert pods.step_operator == "k8s"
    assert pods.settings["step_operator.kubernetes"].model_dump()["pod_count"] == 4
    image = pods.settings["docker"].model_dump()
    assert (image["parent_image"], image["skip_build"]) == ("fivestage-distributed:latest", True)
    assert "docker" not in here.settings
    with pytest.raises(ValueError, match="4 pods need the name"):
        training_step("run.yaml", "data.npz", "out", pods=4)


def test_a_command_here_takes_a_dynamic_pipeline_and_an_image_of_an_operator_a_static_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise ZenML 0.98 fails with `Missing build for snapshot` when it requests pods."""
    called = []
    for name in ("_here", "_in_pods"):
        made = getattr(zenml_pipeline, name)
        assert (made.name, made.is_dynamic) == ("distributed_training", name == "_here")
        monkeypatch.setattr(zenml_pipeline, name, lambda *given: called.append(given))
    files = "run.yaml", "data.npz", "out"
    zenml_pipeline.distributed_training(*files)
    zenml_pipeline.distributed_training(*files, 2, "pods", "image:1")
    assert called == [(*files, 1), (*files, 2, "pods", "image:1")]


def test_the_pods_of_zenmls_operator_are_those_of_the_job() -> None:
    told = (K8S / "zenml" / "pod-settings.json").read_text(encoding="utf-8")
    settings = KubernetesPodSettings.model_validate_json(told)
    made = build_pod_manifest(None, "image", ["python"], [], privileged=False, pod_settings=settings)
    pod = ApiClient().sanitize_for_serialization(made)
    template = resource("job/job.yaml")["spec"]["template"]
    assert pod["metadata"]["labels"] == template["metadata"]["labels"]
    for field in ("automountServiceAccountToken", "enableServiceLinks", "securityContext", "volumes"):
        assert pod["spec"][field] == template["spec"][field]
    (container,), (own,) = pod["spec"]["containers"], template["spec"]["containers"]
    for field in ("resources", "volumeMounts"):
        assert container[field] == own[field]
    assert container["securityContext"].items() >= own["securityContext"].items()
    home = next(one for one in own["env"] if one["name"] == "HOME")
    assert home in container["env"]
