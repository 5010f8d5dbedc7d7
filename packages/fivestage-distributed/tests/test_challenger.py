from pathlib import Path

import numpy as np
import pytest
from synthetic import SyntheticProblem, synthetic_problem

from fivestage.common.errors import UserError
from fivestage_distributed.challenger import (
    ChallengerConfig,
    ChallengerResult,
    challenge,
    evenly,
    gate_lines,
    label_tokens,
    next_tokens,
    sentences,
)
from fivestage_distributed.model import IGNORED

CONFIG = ChallengerConfig(
    rows=2_000,
    events=6,
    layers=1,
    width=32,
    batch=32,
    pretraining=2,
    finetuning=8,
)
GATES = 8


@pytest.fixture(scope="module")
def problem() -> SyntheticProblem:
    return synthetic_problem("binary")


@pytest.fixture(scope="module")
def judged(problem: SyntheticProblem, tmp_path_factory: pytest.TempPathFactory) -> ChallengerResult:
    return challenge(problem, CONFIG, tmp_path_factory.mktemp("challenger"))[2]


def test_the_challenger_learns_and_every_gate_says_why(judged: ChallengerResult) -> None:
    assert judged.test["roc_auc"].value > 0.65
    assert set(judged.losses) == set(judged.processor_seconds) == {"pretraining", "finetuning"}
    assert len(judged.gates) == len(gate_lines(judged).splitlines()) == GATES
    assert {gate.name: gate.passed for gate in judged.gates}["no leak"]


def test_the_events_of_other_rows_cost_it_what_it_has_learnt_of_them(judged: ChallengerResult) -> None:
    assert judged.test["roc_auc"].value - judged.without_events["roc_auc"].value >= 0.05


def test_what_was_measured_is_said_in_sentences(judged: ChallengerResult) -> None:
    said = sentences(judged)
    assert said[0].startswith(
        f"{judged.parameters:,} parameters learnt from {judged.rows:,} rows of {judged.tokens} tokens"
    )
    assert said[1].startswith(f"Test window: ROC-AUC {judged.test['roc_auc'].value:.3f} (")
    assert said[2].startswith("The same with the events of other rows: ROC-AUC ")
    assert said[3].startswith("Without pre-training, on the label alone: ROC-AUC ")
    refused = [f"The gate *{one.name}* refuses it: {one.sentence}" for one in judged.gates if not one.passed]
    assert said[4:] == (refused or ["It passes every gate."])


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
