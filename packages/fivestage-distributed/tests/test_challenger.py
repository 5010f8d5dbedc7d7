from pathlib import Path

import numpy as np
import pytest
from synthetic import SyntheticProblem, synthetic_problem

from fivestage.common.errors import UserError
from fivestage_distributed.challenger import (
    Challenger,
    ChallengerConfig,
    Judged,
    challenge,
    evenly,
    gate_lines,
    label_tokens,
    next_tokens,
    register_challenger,
)
from fivestage_distributed.configuration import ParallelConfig
from fivestage_distributed.model import IGNORED

CONFIG = ChallengerConfig(
    rows=2_000,
    events=6,
    layers=2,
    width=32,
    batch=32,
    pretraining=2,
    finetuning=8,
    parallel=ParallelConfig(dp=2),
)
GATES = 8


@pytest.fixture(scope="module")
def problem() -> SyntheticProblem:
    return synthetic_problem("binary")


@pytest.fixture(scope="module")
def challenged(
    problem: SyntheticProblem, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Challenger, Judged]:
    return challenge(problem, CONFIG, tmp_path_factory.mktemp("challenger"))


def test_the_challenger_learns_and_every_gate_says_why(challenged: tuple[Challenger, Judged]) -> None:
    _, judged = challenged
    assert judged.test.scores["roc_auc"] > 0.65
    assert set(judged.losses) == {"pretraining", "finetuning"}
    assert len(judged.gates) == len(gate_lines(judged).splitlines()) == GATES
    assert {gate.name: gate.passed for gate in judged.gates}["no leak"]


def test_the_events_of_other_rows_cost_it_what_it_has_learnt_of_them(
    challenged: tuple[Challenger, Judged],
) -> None:
    _, judged = challenged
    assert judged.test.scores["roc_auc"] - judged.without_events.scores["roc_auc"] >= 0.05


def test_it_is_registered_with_its_gates_and_scores(
    problem: SyntheticProblem,
    challenged: tuple[Challenger, Judged],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mlflow

    before = mlflow.get_tracking_uri()
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    try:
        name, version = register_challenger(problem, *challenged, CONFIG)
        client = mlflow.MlflowClient()
        found = client.get_model_version(name, version)
        alias = "champion" if challenged[1].passed else "challenger"
        assert client.get_model_version_by_alias(name, alias).version == found.version
        assert len(found.tags["digest"]) == 64
        assert "no leak" in mlflow.artifacts.load_text(f"runs:/{found.run_id}/gates.txt")
    finally:
        mlflow.set_tracking_uri(before)


def test_a_contract_whose_label_is_a_number_is_refused(tmp_path: Path) -> None:
    regression = synthetic_problem("regression")
    with pytest.raises(UserError, match="predicts a number"):
        challenge(regression, CONFIG, tmp_path)


def test_targets_are_the_next_token_or_the_label_alone() -> None:
    tokens = np.array([[5, 6, 7, 2]])
    assert next_tokens(tokens).tolist() == [[6, 7, IGNORED, IGNORED]]
    assert label_tokens(tokens, np.array([1])).tolist() == [[IGNORED, IGNORED, IGNORED, 1]]


def test_rows_are_taken_evenly() -> None:
    assert evenly(np.arange(10), 4).tolist() == [0, 3, 6, 9]
    assert evenly(np.arange(3), 4).tolist() == [0, 1, 2]
