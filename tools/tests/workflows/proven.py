"""Which lines of the workflows a test runs, and how; the page lists the others as not proven."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.tests.workflows.reading import Step, steps

Check = Callable[[dict[str, Any], Path, Path], bool]  # of GitHub's state, the outputs and home, the checkout


def _outputs(*expected: str) -> Check:
    return lambda _, home, __: set(expected) <= set((home / "GITHUB_OUTPUT").read_text().splitlines())


def _issue(kind: str) -> Check:
    return lambda github, _, __: [(one["label"], one["open"]) for one in github["issue"]] == [(kind, True)]


def _told(*words: str) -> Check:
    return lambda github, _, __: all(any(word in line for line in github["other"]) for word in words)


# By the whole line: the check of its result.
HERE: dict[str, Check] = {
    'make --silent facts NOTICE=reports/notices/monitoring.md >> "$GITHUB_OUTPUT"': _outputs(
        "act=true", "as_of=2013-10-08"
    ),
    'make --silent facts >> "$GITHUB_OUTPUT"': _outputs("act=true", "as_of=2013-10-08"),
    "make issue NOTICE=reports/notices/monitoring.md": _issue("monitoring"),
    "make issue": lambda github, _, __: [one["open"] for one in github["issue"]] == [True],
    "cp newest/requirements*.lock . && cp newest/serving/requirements.lock serving/": (
        lambda _, __, checkout: (checkout / "serving/requirements.lock").read_text() == "new==1.0\n"
    ),
    "make deliver": _told("cd.yml"),
    'make verify IMAGE="$SERVING"\nmake verify IMAGE="$PIPELINES"': _told(
        f"oci://ghcr.io/a/b@sha256:{'1' * 64}", f"oci://ghcr.io/a/c@sha256:{'2' * 64}"
    ),
    "make pin": lambda _, __, checkout: (
        f"digest: sha256:{'1' * 64}"
        in (checkout / "k8s/components/production/kustomization.yaml").read_text()
    ),
    'umask 077 && mkdir -p ~/.kube\necho "$KUBECONFIG_TEXT" > ~/.kube/config': (
        lambda _, home, __: (home / ".kube" / "config").stat().st_mode & 0o777 == 0o600
    ),
}

# What these lines call is done by the other tests, with the same verb.
ELSEWHERE = {
    "make setup",
    "make check",
    "make test",
    "make test-long",
    "make test-distributed",
    "make test-images",
    "make docs ARGS=--no-collect",
    "make train",
    "make monitor",
    'make retrain ARGS="$HOW"',
    """make approve ARGS="--by 'the reviewer of run $GITHUB_RUN_ID'\"""",
}
OF_THE_TEMPLATE = ("docs.yml", "template.yml")  # not in generated projects


def here(step: Step) -> Check | None:
    """Return the check of a step that a test runs."""
    return (lambda *_: True) if step.run.startswith("echo ") else HERE.get(step.run)


def not_proven() -> set[str]:
    """Return the lines that no test runs; their syntax is tested with stand-ins for their programs."""
    return {
        line
        for step in steps()
        if step.run and here(step) is None and not step.place.startswith(OF_THE_TEMPLATE)
        for line in step.run.splitlines()
        if line not in ELSEWHERE
    }


def stale() -> set[str]:
    """Return entries that no longer occur in a workflow."""
    return (HERE.keys() | ELSEWHERE) - {step.run for step in steps()}
