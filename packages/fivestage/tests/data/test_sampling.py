"""Samples use the whole budget, cover every day, are deterministic, and keep rows and features together."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.contract.contract import day_of, epoch_of
from fivestage.data.event_tables import ROWS, IngestReport, known_at
from fivestage.data.partitioned import FEATURES, Stored, sampling_rates
from fivestage.data.partitions import Partitions
from fivestage.data.splits import windows_at
from tests.synthetic import AS_OF, Prepared, SyntheticProblem, changed, prepared

TODAY = 16_000
SPLIT = prepared("binary").contract.split.model_copy(update={"holdout_days": 10, "folds": 2, "fold_days": 10})


def expected(by_day: dict[int, int], chance: dict[int, float]) -> float:
    return sum(rows * chance.get(day, 0) for day, rows in by_day.items())


def test_what_fits_is_drawn_whole() -> None:
    by_day = dict.fromkeys(range(TODAY - 100, TODAY + 10), 10)
    assert sampling_rates(by_day, SPLIT, TODAY * DAY, 1000, TODAY * DAY) == dict.fromkeys(
        range(TODAY - 100, TODAY), 1.0
    )


@pytest.mark.parametrize("until", [TODAY, TODAY + 50])
@pytest.mark.parametrize("a_day", [3, 1000])
def test_the_budget_is_used_and_every_day_has_a_chance(until: int, a_day: int) -> None:
    by_day = dict.fromkeys(range(TODAY - 1000, TODAY + 50), a_day)
    chance = sampling_rates(by_day, SPLIT, TODAY * DAY, 2000, until * DAY)
    assert set(chance) == set(range(TODAY - 1000, until))
    assert min(chance.values()) > 0
    assert expected(by_day, chance) == pytest.approx(2000)


def test_judging_takes_a_part_only() -> None:
    by_day = dict.fromkeys(range(TODAY - 1000, TODAY + 50), 1000)
    chance = sampling_rates(by_day, SPLIT, TODAY * DAY, 10_000, (TODAY + 50) * DAY)
    judged = {day: share for day, share in chance.items() if day >= TODAY - 30}
    assert expected(by_day, judged) == pytest.approx(6000)


@pytest.fixture(scope="module")
def real() -> Prepared:
    return prepared("binary")


@pytest.fixture
def store(real: Prepared, tmp_path: Path) -> Stored:
    seconds = real.problem.features.lookback_seconds
    frames = Partitions(str(tmp_path), seconds)
    at = real.rows["decision_at"].to_numpy()
    frames.spread(ROWS, real.rows, at, "whole")
    frames.spread(FEATURES, real.features, at, "whole")
    for kind, frame in real.event_tables.events.items():
        frames.spread(kind, frame, known_at(real.contract.events[kind], frame), "whole")
    by_day = dict(Counter((at // DAY).tolist()))
    return Stored(
        str(tmp_path), seconds, IngestReport("data", {}, {}, {}), real.event_tables.reference, by_day
    )


def test_drawn_rows_have_their_own_features_and_windows(real: Prepared, store: Stored) -> None:
    budget = 1500
    contract = changed(real.contract, budget={"rows_in_memory": budget})
    as_of = epoch_of(AS_OF)
    rows, event_tables, features = store.draw(SyntheticProblem(contract), AS_OF, AS_OF)
    again = store.draw(SyntheticProblem(contract), AS_OF, AS_OF)
    pd.testing.assert_frame_equal(rows, again[0])
    assert len(rows) == len(features) == pytest.approx(budget, rel=0.1)
    places = pd.MultiIndex.from_frame(real.rows[list(contract.identity)]).get_indexer(
        pd.MultiIndex.from_frame(rows[list(contract.identity)])
    )
    assert (np.diff(places) > 0).all()
    pd.testing.assert_frame_equal(features, real.features.iloc[places].reset_index(drop=True))
    windows = windows_at(rows, contract.split, as_of)
    assert len(windows.holdout) > 0
    assert event_tables.since <= as_of - 2 * real.problem.features.lookback_seconds
    for kind, frame in event_tables.events.items():
        assert (known_at(contract.events[kind], frame) >= event_tables.since).all()


def test_events_reach_back_for_the_last_rows_however_long_ago_they_were_decided(
    real: Prepared, store: Stored
) -> None:
    """As when labels arrive late: the smoke rows of an artifact need earlier events."""
    then = epoch_of(AS_OF)
    later = str(day_of(then + 60 * DAY))
    rows, event_tables, _ = store.draw(SyntheticProblem(real.contract), later, AS_OF)
    assert (
        event_tables.since <= rows["decision_at"].iloc[-1] - 2 * real.problem.features.lookback_seconds < then
    )


def test_a_store_that_is_gone_is_a_sentence(real: Prepared, store: Stored) -> None:
    store.frames.clear(ROWS)
    with pytest.raises(UserError, match="no longer holds any rows"):
        store.draw(SyntheticProblem(real.contract), AS_OF, AS_OF)
