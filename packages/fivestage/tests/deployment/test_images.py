"""What goes to a registry comes back as what pulls exactly it, or as a sentence."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fivestage.common.errors import UserError
from fivestage.deployment import images

DIGEST = f"sha256:{'a' * 64}"
WHERE = "ghcr.io/team/churn"


@dataclass
class FakeDocker:
    """The docker command, with two images, and what it was asked to push."""

    there: tuple[str, ...] = ("churn-serving", "churn-pipelines")
    refusal: str = ""
    pushed: list[str] = field(default_factory=list)

    def __call__(self, verb: str, *arguments: str) -> str:
        name = arguments[-1]
        if verb == "push":
            if self.refusal:
                raise UserError(self.refusal)
            self.pushed.append(name)
        if verb != "image":
            return ""
        if "RepoDigests" in arguments[1]:
            repository = name.rpartition(":")[0]
            return json.dumps([f"elsewhere@{DIGEST}", f"{repository}@{DIGEST}"])
        if name.removesuffix(":latest") not in self.there:
            raise UserError(f"docker image: No such image: {name}")
        return json.dumps([name, name.replace("latest", "0123abcd-v2"), f"{WHERE}/x:old"])


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeDocker:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "churn"\nversion = "0.1.0"\n')
    monkeypatch.setattr(images, "ROOT", tmp_path)
    made = FakeDocker()
    monkeypatch.setattr(images, "docker", made)
    return made


def test_the_projects_images_are_pushed_by_revision_and_named_by_digest(docker: FakeDocker) -> None:
    expected = {role: f"{WHERE}/churn-{role}@{DIGEST}" for role in ("serving", "pipelines")}
    assert images.push_images("ghcr.io/Team/churn") == expected
    assert docker.pushed == [f"{WHERE}/churn-{role}:0123abcd-v2" for role in expected]


def test_what_does_not_go_is_a_sentence(docker: FakeDocker) -> None:
    docker.refusal = "denied: no rights"
    with pytest.raises(UserError, match="cannot be pushed: denied"):
        images.push_images(WHERE)
    docker.there = ()
    with pytest.raises(UserError, match="run `make image` first"):
        images.push_images(WHERE)
