"""What a Deployment and its pods say about a rollout."""

from typing import Any

import pytest

from fivestage.common.errors import UserError
from fivestage.deployment import rollout
from fivestage.deployment.kubectl import Cluster, Manifest
from fivestage.deployment.rollout import rollout_pending, rollout_problem, wait_for_rollout

READY = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


def deployment(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "generation": 2},
        "spec": {"replicas": 2},
        "status": READY | status,
    }


def pod(**container: Any) -> dict[str, Any]:
    status = {"name": "serving", "state": {}, "lastState": {}, "ready": False, "restartCount": 0} | container
    return {"metadata": {"name": "web-1"}, "status": {"containerStatuses": [status]}}


def test_all_pods_new_and_ready_is_done() -> None:
    assert not rollout_pending(deployment())
    assert not rollout_problem(deployment(), [pod()])


@pytest.mark.parametrize(
    "status",
    [{"observedGeneration": 1}, {"updatedReplicas": 1}, {"availableReplicas": 1}, {"replicas": 3}],
)
def test_anything_less_is_waited_for(status: dict[str, int]) -> None:
    assert rollout_pending(deployment(**status))
    assert not rollout_problem(deployment(**status), [pod()])


@pytest.mark.parametrize(
    ("container", "sentence"),
    [
        ({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no x"}}}, "ImagePullBackOff. no x"),
        ({"lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}, "out of memory"),
        (
            {
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"reason": "Error", "exitCode": 3}},
            },
            "exit code 3",
        ),
    ],
)
def test_what_waiting_does_not_cure_fails_at_once(container: dict[str, Any], sentence: str) -> None:
    assert sentence in rollout_problem(deployment(availableReplicas=1), [pod(**container)])


def test_a_pod_that_ran_out_of_memory_once_and_is_ready_again_fails_no_rollout() -> None:
    recovered = pod(lastState={"terminated": {"reason": "OOMKilled", "exitCode": 137}}, ready=True)
    assert not rollout_problem(deployment(), [recovered])


def test_an_image_that_is_still_being_tried_is_waited_for() -> None:
    trying = pod(state={"waiting": {"reason": "ErrImagePull", "message": "busy"}})
    assert not rollout_problem(deployment(availableReplicas=1), [trying])


@pytest.mark.parametrize(
    "condition",
    [
        {"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"},
        {
            "type": "Progressing",
            "status": "False",
            "reason": "ProgressDeadlineExceeded",
            "message": "too long",
        },
    ],
)
def test_the_deployment_s_own_verdict_counts(condition: dict[str, str]) -> None:
    assert condition["message"] in rollout_problem(deployment(updatedReplicas=0, conditions=[condition]), [])


@pytest.mark.parametrize(("named", "failed"), [("new", True), ("old", False)])
def test_a_deadline_counts_for_its_own_replica_set_alone(named: str, *, failed: bool) -> None:
    timed_out = {
        "type": "Progressing",
        "reason": "ProgressDeadlineExceeded",
        "message": f'ReplicaSet "web-{named}" has timed out progressing.',
    }
    starting = pod() | {"metadata": {"name": "web-1", "labels": {"pod-template-hash": "new"}}}
    late = deployment(updatedReplicas=0, conditions=[timed_out])
    assert bool(rollout_problem(late, [starting])) == failed


LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "too late"}


def test_a_pod_without_a_node_says_what_the_nodes_lack() -> None:
    lacks = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no memory"}
    pods = [{"metadata": {"name": "web-1"}, "status": {"conditions": [lacks]}}]
    assert not rollout_problem(deployment(updatedReplicas=0), pods)
    problem = rollout_problem(deployment(updatedReplicas=0, conditions=[LATE]), pods)
    assert problem == "web: web-1 has no node: no memory"


def test_an_init_container_that_waits_too_long_says_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = {"name": "wait", "state": {"running": {}}, "ready": False, "started": True, "restartCount": 0}
    later = {"name": "serving", "state": {"waiting": {"reason": "PodInitializing"}}, "ready": False}
    status = {
        "initContainerStatuses": [waits],
        "containerStatuses": [later | {"started": False, "restartCount": 0}],
    }
    pods = [{"metadata": {"name": "web-1"}, "status": status}]

    class Logs(Cluster):
        def get(self, kind: str, name: str) -> Manifest:  # noqa: ARG002
            return deployment(updatedReplicas=0, conditions=[LATE])

        def run(self, *arguments: str, stdin: str = "", timeout: float = 60) -> str:  # noqa: ARG002
            assert arguments == ("logs", "web-1", "--container", "wait", "--tail=3")
            return "postgres:5432 - no response\n"

    monkeypatch.setattr(rollout, "newest_pods", lambda *_: pods)
    with pytest.raises(UserError, match=r"too late The end .* wait of web-1:\npostgres:5432 - no response"):
        wait_for_rollout(Logs("default"), "web", 1)
