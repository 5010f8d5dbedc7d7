from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fivestage.common.columns import Ints
from fivestage.contract.contract import BinaryContract
from fivestage.data.splits import TemporalSplit
from fivestage.training import baselines
from fivestage.training.baselines import BASELINES, LOOKUP_PRIOR, historical, prior
from fivestage.training.sample import TrainingSample, lookup_keys
from fivestage.training.task_trainer import baseline_savings
from tests.contract.contracts import contract_of
from tests.synthetic import prepared

ROWS = 900
CHANCES = BinaryContract.known_baselines
TRAIN, LATER = np.arange(600), np.arange(600, ROWS)
WINDOWS = TemporalSplit(TRAIN, (), LATER, LATER[:0], 0, 0)
CONTRACT = contract_of("binary")


def sample(label: Ints | None = None) -> TrainingSample:
    random = np.random.default_rng(0)
    group = np.where(np.arange(ROWS) % 3 == 0, "often", "seldom")
    group[-1] = "new"
    features = np.column_stack([(group == "often") + random.normal(scale=0.3, size=ROWS), np.ones(ROWS)])
    features[::7, 0] = np.nan
    drawn = (random.random(ROWS) < np.where(group == "often", 0.7, 0.1)).astype(np.int64)
    keys = pd.DataFrame({"group": group})
    drawn = drawn if label is None else label
    return TrainingSample(features, ("told", "constant"), {}, keys, drawn, WINDOWS, CONTRACT)


@pytest.mark.parametrize("name", CHANCES)
def test_no_baseline_sees_the_labels_it_is_judged_by(name: Any) -> None:
    seen = sample()
    spoiled = seen.label.copy()
    spoiled[LATER] = 1 - spoiled[LATER]
    found = BASELINES[name](seen, TRAIN, LATER)
    assert np.array_equal(BASELINES[name](sample(spoiled), TRAIN, LATER), found)
    assert found.shape == LATER.shape
    assert ((found >= 0) & (found <= 1)).all()


def test_the_prior_is_the_rate_of_training() -> None:
    assert (prior(sample(), TRAIN, LATER) == sample().label[TRAIN].mean()).all()


def test_a_rate_of_many_rows_is_its_own_and_of_none_the_overall_one() -> None:
    seen = sample()
    found = historical(seen, TRAIN, LATER)
    overall = seen.label[TRAIN].mean()
    often = seen.label[TRAIN][seen.keys["group"].to_numpy()[TRAIN] == "often"]
    assert found[-1] == pytest.approx(overall)  # its group is new
    assert found[0] == pytest.approx((often.sum() + LOOKUP_PRIOR * overall) / (often.size + LOOKUP_PRIOR))
    assert abs(found[0] - often.mean()) < 0.05


def test_the_line_follows_the_feature_and_bears_gaps() -> None:
    seen = sample()
    found = BASELINES["logistic_regression"](seen, TRAIN, LATER)
    often = seen.keys["group"].to_numpy()[LATER] == "often"
    assert np.isfinite(found).all()
    assert found[often].mean() > found[~often].mean() + 0.3


def test_the_line_learns_the_most_recent_rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "LINE_ROWS", 300)
    spoiled = sample().label.copy()
    spoiled[:300] = 1 - spoiled[:300]
    line = BASELINES["logistic_regression"]
    assert np.array_equal(line(sample(spoiled), TRAIN, LATER), line(sample(), TRAIN, LATER))


def test_savings_are_those_of_the_holdout_window() -> None:
    found = baseline_savings(sample())
    assert set(found) == set(CONTRACT.baselines)
    assert found["prior"] <= 0 < found["historical_rate"]  # the rate alone cannot beat the best constant
    with pytest.raises(ValueError, match="do not match"):
        baseline_savings(replace(sample(), windows=replace(WINDOWS, holdout=LATER[:0], after=LATER)))


def test_the_lookup_groups_by_the_contracts_slices_and_the_hour() -> None:
    data = prepared("binary")
    keys = lookup_keys(data.rows, data.contract)
    assert list(keys) == [*data.contract.slices, "hour"]
    assert keys.notna().all(axis=None)
    moments = pd.to_datetime(data.rows[data.contract.decision.time_column], unit="s")
    assert (keys["hour"].astype(int) == moments.dt.hour).all()
