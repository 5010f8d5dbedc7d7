"""What kubectl complains of, as a sentence; kubectl itself is a stand-in."""

from pathlib import Path

import pytest

from fivestage.common.errors import UserError
from fivestage.deployment.kubectl import Cluster

LOGGED = 'E1125 17:36:11.118550   31248 memcache.go:265] "Unhandled Error" err="connection refused"'
REFUSED = "The connection to the server {} was refused - did you specify the right host or port?"


@pytest.mark.parametrize(
    ("server", "more"),
    [("localhost:8080", " KUBECONFIG names no running cluster."), ("10.0.0.1:6443", "")],
)
def test_a_cluster_that_is_not_there_is_one_sentence_without_the_log_of_each_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, more: str
) -> None:
    said = REFUSED.format(server)
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{LOGGED}\n{LOGGED}\n{said}\nEND\nexit 1\n")
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(UserError) as told:
        Cluster("fivestage").run("get", "pods")
    assert str(told.value) == f"kubectl get: {said}{more}"
