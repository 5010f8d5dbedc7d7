"""What goes to a registry comes back as what pulls exactly it, or as a sentence."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from docker.errors import ImageNotFound

from fivestage.common.errors import UserError
from fivestage.deployment import images

DIGEST = f"sha256:{'a' * 64}"


class Engine:
    """A Docker engine that remembers what it was asked to push."""

    def __init__(self, said: list[dict[str, Any]], names: tuple[str, ...]) -> None:
        self.said, self.names, self.images = said, names, self
        self.pushed: list[tuple[str, str]] = []

    def get(self, name: str) -> SimpleNamespace:
        if name.removesuffix(":latest") not in self.names:
            raise ImageNotFound(name)
        tags = [f"elsewhere/{name}:old", name, name.replace("latest", "0123abcd-v2")]
        return SimpleNamespace(tags=tags, tag=lambda repository, tag: self.pushed.append((repository, tag)))

    def push(self, repository: str, tag: str, **_: bool) -> list[dict[str, Any]]:
        assert (repository, tag) in self.pushed
        return self.said


@pytest.fixture
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    names = [{"name": f"fivestage-{role}", "newName": f"churn-{role}"} for role in ("serving", "pipelines")]
    project = tmp_path / "k8s" / "components" / "project" / "kustomization.yaml"
    project.parent.mkdir(parents=True)
    project.write_text(yaml.safe_dump({"images": names}))
    monkeypatch.setattr(images, "ROOT", tmp_path)
    made = Engine(*request.param)

    @contextmanager
    def opened() -> Iterator[Engine]:
        yield made

    monkeypatch.setattr(images, "open_engine", opened)
    return made


BOTH = ("churn-serving", "churn-pipelines")
FINE = [{"status": "Pushed"}, {"aux": {"Tag": "0123abcd-v2", "Digest": DIGEST, "Size": 9}}]


@pytest.mark.parametrize("engine", [(FINE, BOTH)], indirect=True)
def test_the_projects_images_are_pushed_by_revision_and_named_by_digest(engine: Engine) -> None:
    where = "ghcr.io/team/project"
    expected = {role: f"{where}/churn-{role}@{DIGEST}" for role in ("serving", "pipelines")}
    assert images.push_images("ghcr.io/Team/project") == expected
    assert engine.pushed == [(f"{where}/{one}", "0123abcd-v2") for one in BOTH]


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        (([{"error": "denied: no rights"}], BOTH), "cannot be pushed: denied"),
        ((FINE, ()), "run `make image` first"),
    ],
    indirect=["engine"],
)
@pytest.mark.usefixtures("engine")
def test_what_does_not_go_is_a_sentence(sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        images.push_images("ghcr.io/team/project")


@pytest.mark.parametrize("engine", [(FINE, BOTH)], indirect=True)
@pytest.mark.usefixtures("engine")
def test_an_image_without_a_name_is_a_sentence() -> None:
    with pytest.raises(UserError, match="has no `newName` for the image `fivestage-other`"):
        images.image_name("other")


@pytest.mark.parametrize("engine", [(FINE, BOTH)], indirect=True)
@pytest.mark.usefixtures("engine")
def test_a_machine_without_docker_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.0"\n')
    git = shutil.which("git")
    assert git
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to(git)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(UserError) as caught:
        images.build_pipelines()
    assert str(caught.value) == "This needs the program `docker`: install Docker Engine with buildx."
