"""Multiclass and regression: calibration, coverage of intervals, gates and leakage probes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from fivestage.artifact.calibration import MulticlassCalibration, RegressionCalibration
from fivestage.artifact.scorer import Scorer
from fivestage.common.clock import DAY
from fivestage.common.columns import Floats
from fivestage.contract.contract import Contract, MulticlassContract, RegressionContract
from fivestage.contract.cost_model import DECISION, HIGH, LOW, VALUE, cost_model_of
from fivestage.data.splits import Fold, TemporalSplit
from fivestage.evaluation.champion_challenger import Evidence, run_gates
from fivestage.evaluation.gates import Gate, Probe
from fivestage.evaluation.metrics import Answers
from fivestage.training.conversion import trees_of
from fivestage.training.leakage_probes import measure_of, shuffled_labels_give_chance, target_is_not_rebuilt
from fivestage.training.sample import TrainingSample
from fivestage.training.selection import Selection, select
from fivestage.training.task_trainer import a_few_trees, baseline_savings, trainer_of
from tests.contract.contracts import CLASSES, contract_of
from tests.synthetic import boosting, prepared

ROWS, CUT = 3000, 2000
FOLDS = (
    Fold(np.arange(1000), np.arange(1000, 1500), 0, 0),
    Fold(np.arange(1500), np.arange(1500, CUT), 0, 0),
)
WINDOWS = TemporalSplit(np.arange(CUT), FOLDS, np.arange(CUT, 2500), np.arange(2500, ROWS), 0, 0)
SEVERAL, NUMBER = contract_of("multiclass"), contract_of("regression")
assert isinstance(SEVERAL, MulticlassContract)
assert isinstance(NUMBER, RegressionContract)


def small(contract: Contract) -> Any:
    return boosting(contract.task, learning_rate=0.1, max_leaf_nodes=8, max_iter=50)


def chosen(seen: TrainingSample) -> Selection:
    return select(seen, {"small": small(seen.contract)})


def sample(contract: Contract, seed: int = 0) -> TrainingSample:
    """Make a label that depends on the first feature, with noise whose scale depends on the second."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(ROWS, 4))
    target = 20 + 10 * features[:, 0] + random.gamma(2, 2, ROWS) * np.exp(features[:, 1] / 2)
    keys = pd.DataFrame({"group": (features[:, 0] > 0).astype(str)})
    if isinstance(contract, RegressionContract):
        return TrainingSample(features, tuple("abcd"), {}, keys, target, WINDOWS, contract)
    label = np.digitize(target, np.quantile(target, [0.2, 0.5, 0.8, 0.95]))
    return TrainingSample(features, tuple("abcd"), {}, keys, label, WINDOWS, contract)


@pytest.mark.parametrize("contract", [SEVERAL, NUMBER])
def test_trees_beat_the_baselines_and_are_calibrated_on_the_folds_alone(contract: Any) -> None:
    seen = sample(contract)
    found = chosen(seen)
    name = "rmse" if contract is NUMBER else "log_loss"
    losses = {entry.name: entry.metrics[name] for entry in found.leaderboard}
    assert losses["small"] < losses["prior"]
    assert losses["small"] < losses["historical_mean" if contract is NUMBER else "historical_rate"]
    features = seen.features.copy()
    features[CUT:] = np.nan
    blind = replace(seen, features=features)
    assert chosen(blind) == found
    savings = baseline_savings(seen)
    assert set(savings) == set(contract.baselines)
    assert max(savings.values()) < 1


@pytest.mark.parametrize("contract", [SEVERAL, NUMBER])
def test_converted_trees_of_several_outputs_answer_as_scikit_learns_do(contract: Any) -> None:
    seen, learner = sample(contract), trainer_of(contract)
    models = learner.fit(seen.features[:CUT], seen.label[:CUT], small(contract))
    trees = trees_of(models)
    assert trees is not None
    scorer = Scorer(trees, learner.uncalibrated)
    margins = learner.margins(models, seen.features[CUT:])
    assert np.allclose(scorer.margins(seen.features[CUT:]), margins, rtol=1e-12, atol=1e-9)
    assert scorer.why_slow == ""


def test_a_class_that_training_has_not_seen_is_still_answered_for() -> None:
    seen, learner = sample(SEVERAL), trainer_of(SEVERAL)
    some = np.flatnonzero(seen.label[:CUT] != 3)
    models = learner.fit(seen.features[some], seen.label[some], small(SEVERAL))
    forecast = learner.uncalibrated.forecast(learner.margins(models, seen.features[CUT:]))
    assert forecast.shape == (ROWS - CUT, len(CLASSES))
    assert forecast[:, 3].max() < 0.05
    line = learner.baseline("logistic_regression", seen, some, np.arange(CUT, ROWS))
    assert (line[:, 3] == 0).all()


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_one_temperature_for_all_classes_is_recovered(slope: float) -> None:
    random = np.random.default_rng(0)
    margins = random.normal(scale=1.5, size=(20_000, 5))
    probabilities = MulticlassCalibration(slope).forecast(margins)
    label = (random.random((len(probabilities), 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    found = trainer_of(SEVERAL).calibrate(margins, label)
    assert isinstance(found, MulticlassCalibration)
    assert found.slope == pytest.approx(slope, rel=0.05)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(-9, 9), st.floats(0, 3))
def test_intervals_hold_their_share_whatever_the_quantiles_were(seed: int, off: float, wide: float) -> None:
    """Calibrated on half of the rows, intervals cover the other half as required, however bad they were."""
    random = np.random.default_rng(seed)
    scale = random.uniform(0.5, 4, 8000)
    label = random.gamma(1.5, scale) + off
    margins = np.column_stack([off + scale, off - wide * scale, off + wide * scale, off + 2 * scale])
    learner = trainer_of(NUMBER)
    found = learner.calibrate(margins[:4000], label[:4000])
    assert isinstance(found, RegressionCalibration)
    forecast = found.forecast(margins[4000:])
    outcome = label[4000:]
    inside = ((outcome >= forecast[:, LOW]) & (outcome <= forecast[:, HIGH])).mean()
    far = 0.05  # five standard deviations of the observed share
    assert inside > 0.8 - far  # more only where the interval was widened to contain the expected value
    assert inside < 0.8 + far or (forecast[:, LOW] == forecast[:, VALUE]).any()
    assert (outcome <= forecast[:, DECISION]).mean() == pytest.approx(0.75, abs=far)  # over 1, under 3
    assert (forecast[:, LOW] <= forecast[:, VALUE]).all()
    assert (forecast[:, VALUE] <= forecast[:, HIGH]).all()


# --- gates ------------------------------------------------------------------------------------------


def rows_of(contract: Contract, label: Any) -> pd.DataFrame:
    day = np.arange(len(label)) % 20
    extra = dict.fromkeys(contract.slices, "x")
    return pd.DataFrame({"decision_at": day * DAY, contract.label.name: label, **extra})


def gates_of(contract: Contract, label: Any, forecast: Floats, decision: Any = None) -> dict[str, Gate]:
    decided = cost_model_of(contract.costs).decide(forecast) if decision is None else decision
    probes = (Probe("none", passed=True, sentence=""),)
    evidence = Evidence(dict.fromkeys(contract.baselines, 0.0), probes, 0.1)
    answers = Answers(forecast, decided)
    found = run_gates(rows_of(contract, label), answers, "there is no champion yet", evidence, contract)
    return {gate.name: gate for gate in found.gates}


def failed(contract: Contract, label: Any, forecast: Floats, decision: Any = None) -> list[str]:
    return [name for name, gate in gates_of(contract, label, forecast, decision).items() if not gate.passed]


def honest_classes(seed: int = 0) -> tuple[Any, Floats]:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(len(CLASSES), 0.5), 4000)
    return (random.random((4000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1), probabilities


def honest_numbers(seed: int = 0) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    value, scale = random.normal(20, 8, 4000), random.uniform(3, 9, 4000)
    around = np.array([0, -1.2816, 1.2816, 0.6745])
    return random.normal(value, scale), value[:, None] + scale[:, None] * around


def test_honest_forecasts_pass_every_gate() -> None:
    assert failed(SEVERAL, *honest_classes()) == []
    assert failed(NUMBER, *honest_numbers()) == []


def test_classes_that_are_told_too_well_are_implausible() -> None:
    label, _ = honest_classes()
    sure = 0.92 * np.eye(len(CLASSES))[label] + 0.016
    assert "plausible" in failed(SEVERAL, label, sure)


def test_classes_that_are_told_too_surely_are_uncalibrated() -> None:
    label, probabilities = honest_classes()
    loud = probabilities**4 / (probabilities**4).sum(axis=1, keepdims=True)
    tight = SEVERAL.gates.model_copy(update={"max_calibration_error": 0.04})
    contract = SEVERAL.model_copy(update={"gates": tight})
    assert failed(contract, label, probabilities) == []
    assert "calibrated" in failed(contract, label, loud)


def test_a_class_that_is_told_too_often_is_biased() -> None:
    label, probabilities = honest_classes()
    skewed = probabilities * np.array([6, 1, 1, 1, 1])
    found = gates_of(SEVERAL, label, skewed / skewed.sum(axis=1, keepdims=True))
    assert not found["unbiased"].passed
    assert "off the rate" in found["unbiased"].sentence


def test_numbers_that_are_told_too_well_are_implausible() -> None:
    label, forecast = honest_numbers()
    near = np.column_stack([label + 0.1, *forecast[:, 1:].T])
    assert "plausible" in failed(NUMBER, label, near)


def test_intervals_that_are_too_narrow_are_uncalibrated() -> None:
    label, forecast = honest_numbers()
    middle = forecast[:, [VALUE]]
    found = gates_of(NUMBER, label, middle + 0.5 * (forecast - middle))
    assert not found["calibrated"].passed
    assert "should contain 80%" in found["calibrated"].sentence


def test_numbers_that_are_off_are_biased() -> None:
    label, forecast = honest_numbers()
    off = forecast.copy()
    off[:, VALUE] += 6
    assert failed(NUMBER, label, off) == ["unbiased"]


@pytest.mark.parametrize(("contract", "rows"), [(SEVERAL, honest_classes()), (NUMBER, honest_numbers())])
def test_decisions_worse_than_one_for_all_do_not_serve(contract: Any, rows: Any) -> None:
    label, forecast = rows
    worst = np.full(len(label), 2) if contract is SEVERAL else np.full(len(label), 90.0)
    assert "better than the baselines" in failed(contract, label, forecast, worst)


# --- leaks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contract", [SEVERAL, NUMBER])
def test_a_feature_that_is_the_label_is_found_and_others_are_not(contract: Any) -> None:
    seen, measure = sample(contract), measure_of(contract)
    features = pd.DataFrame(seen.features, columns=list("abcd"))
    assert target_is_not_rebuilt(features, seen.label, measure).passed is (contract is SEVERAL)  # R² 0.8
    assert target_is_not_rebuilt(features[["b", "c"]], seen.label, measure).passed
    for copy in (seen.label, pd.Series(seen.label).round().astype(str)):
        probe = target_is_not_rebuilt(features[["b", "c"]].assign(copy=copy), seen.label, measure)
        assert not probe.passed
        assert "copy" in probe.sentence


@pytest.mark.parametrize("contract", [SEVERAL, NUMBER])
def test_trees_find_nothing_in_shuffled_labels_of_any_task(contract: Any) -> None:
    seen, measure = sample(contract), measure_of(contract)
    few = a_few_trees(trainer_of(contract))
    assert shuffled_labels_give_chance(few, seen.features, seen.label, WINDOWS, measure).passed

    def peeking(features: Floats, label: Any, _: Any, rows: Any) -> Floats:
        return few(features, label, rows, rows)

    assert not shuffled_labels_give_chance(peeking, seen.features, seen.label, WINDOWS, measure).passed


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_the_temperature_is_scikit_learns(task: str) -> None:
    one = prepared(task)
    trainer, fold, holdout = trainer_of(one.contract), one.windows.folds[-1], one.windows.holdout
    (model,) = trainer.fit(one.sample.frame(fold.train), one.sample.label[fold.train], boosting(task))
    seen, label = one.sample.frame(fold.valid), one.sample.label[fold.valid]
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="temperature", ensemble=False)
    expected = theirs.fit(seen, label).predict_proba(one.sample.frame(holdout))
    ours = trainer.calibrate(trainer.margins([model], seen), label)
    found = ours.forecast(trainer.margins([model], one.sample.frame(holdout)))
    assert np.abs(found - (expected[:, 1] if task == "binary" else expected)).max() < 1e-5
