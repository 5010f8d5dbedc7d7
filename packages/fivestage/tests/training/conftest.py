"""Fixtures for each task: synthetic data, a small fitted model and its artifact; not to be changed."""

import pytest

from fivestage.artifact.artifact import Artifact
from fivestage.training.packaging import Fitted
from tests.synthetic import TASKS, Prepared, prepared, synthetic_artifact, synthetic_fitted


@pytest.fixture(scope="session", params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def data(task: str) -> Prepared:
    return prepared(task)


@pytest.fixture(scope="session")
def fitted(task: str) -> Fitted:
    return synthetic_fitted(task)


@pytest.fixture(scope="session")
def artifact(task: str) -> Artifact:
    return synthetic_artifact(task)
