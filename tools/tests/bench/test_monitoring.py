"""The benchmark of the drift checks: faults match their names, and rates match the alarms."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fivestage.monitoring.drift import WEEK
from fivestage.monitoring.label_drift import MEANING
from tests.contract.contracts import contract_of
from tools.bench.best_statistic import limit_of
from tools.bench.drift_trials import (
    DRAWN_WINDOWS,
    TOUCHED,
    Plan,
    Table,
    best_of_rate,
    consecutive,
    drawn,
    drawn_windows,
    faulty,
    growing,
    labelled,
    unchanged,
    window_of,
)
from tools.bench.faults import Fault, faults, label_faults, touched
from tools.bench.made_up_tables import CHOSEN, JUDGED, independent_rows, plan_of, shop
from tools.bench.monitoring import share_of, share_of_trials
from tools.bench.monitoring_page import page

DAYS, ROWS, REFERENCE, OTHERS = 74, 60, 56, 14


@pytest.fixture(scope="module")
def table() -> Table:
    draw = np.random.default_rng(0)
    day = np.repeat(np.arange(100, 100 + DAYS), ROWS)
    level = draw.normal(0, 0.3, DAYS)[day - 100]
    frame = pd.DataFrame(
        {name: level + draw.normal(size=day.size).round(2) for name in ("heat", "wind", "rain")}
        | {"place": draw.choice(["north", "south", "west"], day.size, p=[0.5, 0.3, 0.2])}
    )
    chance = np.clip(0.3 + 0.1 * frame["heat"].to_numpy(), 0.05, 0.95)
    return Table(frame, day, (draw.random(day.size) < chance).astype(np.int64), chance)


@pytest.fixture(scope="module")
def plan(table: Table) -> Plan:
    return Plan(np.unique(table.day), REFERENCE, OTHERS, (1, WEEK), 0.01)


@pytest.fixture(scope="module")
def every(table: Table) -> dict[tuple[str, str], Fault]:
    return {(one.name, one.where): one for one in faults(table.frame, table.day)}


def test_a_trial_draws_days_that_its_reference_does_not_have(plan: Plan, table: Table) -> None:
    reference, others = drawn(plan, np.random.default_rng(1))
    assert (len(reference), len(others)) == (REFERENCE, OTHERS)
    assert not set(reference) & set(others)
    for week in (*reference.reshape(-1, WEEK), *others.reshape(-1, WEEK)):
        assert sorted(week % WEEK) == [*range(WEEK)]
    window, rows = window_of(table, others)
    assert (table.day[rows] == others[window.day]).all()


def test_windows_share_no_day_and_grow_to_whole_weeks() -> None:
    assert consecutive(WEEK, OTHERS).sum(axis=0).tolist() == [1] * OTHERS
    grown = growing(OTHERS + 3)
    assert grown.sum(axis=2).tolist() == [list(range(1, WEEK + 1))] * 2
    assert (grown[:, -1] == consecutive(WEEK, OTHERS + 3)).all()


def test_drawn_windows_have_the_weekdays_of_consecutive_days() -> None:
    draw = np.random.default_rng(0)
    assert (drawn_windows(1, OTHERS, draw) == np.eye(OTHERS)).all()
    for length in (WEEK, 11):
        windows = drawn_windows(length, OTHERS, draw)
        assert windows.shape == (DRAWN_WINDOWS, OTHERS)
        assert (windows.sum(axis=1) == length).all()
        of_weekday = windows.reshape(DRAWN_WINDOWS, -1, WEEK).sum(axis=1)
        assert (np.sort(of_weekday) == [1] * (2 * WEEK - length) + [2] * (length - WEEK)).all()


def test_faults_change_what_they_are_called_by(table: Table, every: dict[tuple[str, str], Fault]) -> None:
    before, _ = window_of(table, np.unique(table.day)[:WEEK])
    draw, usual = np.random.default_rng(2), table.frame
    for fault in every.values():
        after = fault.put(before, usual, draw)
        share = touched(before, after)
        assert share.mean() > TOUCHED[fault.gross], fault
        if fault.columns and len(after.frame) == len(before.frame):
            rest = before.frame.columns.difference([*fault.columns])
            pd.testing.assert_frame_equal(after.frame[rest], before.frame[rest])
    put = {
        name: every[name, "heat"].put(before, usual, draw).frame["heat"]
        for name, where in every
        if where == "heat"
    }
    heat = before.frame["heat"]
    assert (put["mean + 0.5 sd"] - heat).mean() == pytest.approx(0.5 * usual["heat"].std())
    assert put["20 points missing"].isna().mean() == pytest.approx(0.2, abs=0.08)
    assert (put["unit, x 1.609"] / heat).mean() == pytest.approx(1.609)
    repeated = {name: put[name].groupby(before.day).nunique() for name in put if name.startswith("stale")}
    assert repeated["stale, one value a day"].max() == 1
    assert 5 < repeated["stale from noon on"].max() <= ROWS // 2 + 1
    assert sorted(put["values in another order"]) == sorted(heat)
    shares = [
        every[f"a level + {points} points", "place"]
        .put(before, usual, draw)
        .frame["place"]
        .eq("south")
        .mean()
        for points in (5, 10)
    ]
    halved = every["half of a level's rows lost", "place"].put(before, usual, draw).frame["place"]
    kept = halved.value_counts() / before.frame["place"].value_counts()
    assert kept.to_dict() == {"north": 1, "south": pytest.approx(0.5, abs=0.15), "west": 1}
    risen = np.array(shares) - before.frame["place"].eq("south").mean()
    assert risen == pytest.approx([0.05, 0.1], abs=0.04)


@pytest.mark.parametrize("make", [shop, independent_rows])
def test_made_up_tables_are_judged_by_other_seeds_than_numbers_are_chosen_by(
    make: Callable[[int], Table],
) -> None:
    assert not set(CHOSEN) & set(JUDGED)
    one, again, other = make(JUDGED[0]), make(JUDGED[0]), make(JUDGED[1])
    pd.testing.assert_frame_equal(one.frame, again.frame)
    assert len(one.frame) != len(other.frame) or not one.frame.equals(other.frame)
    found = unchanged(0, one, plan_of(one, REFERENCE, (1, WEEK), 0.01))
    assert {length: len(alarms) for length, (alarms,) in found.alarms.items()} == {1: 34, WEEK: DRAWN_WINDOWS}


def test_what_is_seen_of_faults_is_told_by_their_columns(
    table: Table, plan: Plan, every: dict[tuple[str, str], Fault]
) -> None:
    some = [every["20 points missing", "wind"], every["mean + 0.25 sd", "wind"]]
    gross, subtle = faulty(0, table, plan, some)
    assert np.mean(gross.day) > 0.9 > np.mean(subtle.day)
    assert (gross.week, gross.until, gross.named) == ([True, True], [1, 1], [True])
    ((kind, reach, unchanged_reach),) = gross.reach
    assert kind == "missing share"
    assert reach > 1 > unchanged_reach
    null = unchanged(0, table, plan)
    sizes = {key: len(found) for key, (found,) in null.alarms.items()}
    assert sizes == {1: OTHERS, WEEK: DRAWN_WINDOWS}
    assert np.mean(null.alarms[1]) < 0.2
    of_gross, of_subtle = (limit_of(one.reached, null.reached, 1, 0.01) for one in (gross, subtle))
    assert of_gross is not None
    assert of_subtle is not None
    assert (of_gross["seen"], of_gross["kind"], of_gross["column"]) == (1.0, "missing share", "wind")
    assert of_subtle["seen"] >= np.mean(subtle.day)
    assert {name for _, _, name in subtle.reached} == {"wind"}


def test_labels_that_come_otherwise_are_seen_while_inputs_are_unchanged(table: Table, plan: Plan) -> None:
    some = list(label_faults(contract_of("binary"), table.frame, np.asarray(table.label), "heat"))
    risen, turned = (
        np.mean([one.put(table.frame, table.label, np.random.default_rng(seed)).mean() for seed in range(5)])
        for one in (some[1], some[3])
    )
    rate = np.mean(table.label)
    assert risen - rate == pytest.approx(0.1, abs=0.01)
    assert turned == pytest.approx(rate, abs=0.01)
    null, seen = labelled(0, table, plan, some, "binary")
    assert not any(null.alarms[WEEK][0])
    assert {name for _, kind, name in seen[3].reached if kind == MEANING.name} >= {"heat"}
    known = limit_of(seen[3].reached, null.reached, WEEK, 0.01)
    assert known is not None
    assert known["seen"] == 1.0
    assert any(seen[3].week)
    best = {(fault, rows): share for fault, rows, share in best_of_rate(table, plan, some, "binary")}
    assert {fault for fault, _ in best} == {one.name for one in some[:2]}
    assert best[some[0].name, "label"] < best[some[1].name, "label"]


def test_intervals_of_shares_are_wilsons() -> None:
    none, some = share_of([False] * 100), share_of([True] * 8 + [False] * 2)
    assert (none.found, none.of, none.low) == (0, 100, 0.0)
    assert none.high == pytest.approx(0.0370, abs=1e-4)
    assert (some.low, some.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_answers_that_go_together_in_trials_are_worth_fewer() -> None:
    apart = share_of_trials([[True] + [False] * 9] * 10)
    together = share_of_trials([[True] * 10] + [[False] * 10] * 9)
    assert apart == share_of([True] * 10 + [False] * 90)
    assert (together.found, together.of) == (10, 100)
    assert together.high == pytest.approx(share_of([True] + [False] * 9).high, abs=0.03)


def test_the_limit_is_what_one_told_statistic_sees() -> None:
    far = [float(number) for number in range(100)]
    usual = {(1, "missing", "x"): far, (1, "shift", "x"): far}
    fault = {(1, "missing", "x"): [97.0, 200.0], (1, "shift", "x"): [99.0, 200.0], (7, "shift", "x"): [1.0]}
    found = limit_of(fault, usual, 1, 0.01)
    assert found == {"seen": 1.0, "kind": "shift", "column": "x", "unchanged": 100}
    assert limit_of(fault, usual, 7, 0.01) is None


def test_the_page_tells_faults_together_and_those_that_fall_short_alone() -> None:
    def share(found: int, of: int = 10) -> dict[str, float]:
        return {"found": found, "of": of, "low": 0.1, "high": 0.9}

    def line(where: str, found: int) -> dict[str, Any]:
        seen = {"day": share(found), "week": share(10), "named": share(found), "days_until": 1.0}
        peers = {name: share(1) for name in ("evidently_day", "evidently_week", "nannyml_day")}
        return (
            {
                "fault": "unit",
                "where": where,
                "gross": True,
                "by": "slope",
                "reach": 0.5,
                "unchanged_reach": 0.25,
                "limit_day": limit("slope", where, 0.7),
            }
            | seen
            | peers
        )

    def limit(kind: str, column: str, seen: float) -> dict[str, Any]:
        return {"seen": seen, "kind": kind, "column": column, "unchanged": 100}

    text = page(
        {
            "columns": 4,
            "rows_a_day": 40.0,
            "reference_days": 58,
            "days": [0, 59],
            "level": 0.01,
            "false_alarms": [
                {"rows": 40, "days": 1, "reference_days": 44, "alarms": share(0), "labels": None}
            ],
            "tables": [{"table": "shops", "days": 1, "alarms": share(0)}],
            "as_they_came": {
                "apart": 3,
                "drifted": share(3),
                "broken": share(1),
                "columns_drifted": 1.5,
                "named_broken": {"heat": 1},
            },
            "faults": [line("heat", 10), line("wind", 6), line("rain", 10) | {"days_until": None}],
            "labels": [
                {"fault": "label rate", "day": share(0), "week": share(9), "days_until": 8.0}
                | {
                    "limit_day": limit("overall", "the mean", 0.1),
                    "limit_week": limit("column", "heat", 0.95),
                }
            ],
            "cost": {
                "rows": 1e6,
                "columns": 20,
                "wall_seconds": 1.0,
                "cpu_seconds": 2.0,
                "peak_memory_gb": 0.5,
            },
            "rate_tests": [{"fault": "label rate + 10 points", "rows": "label", "week": 0.7}],
            "peers": "",
        }
    )
    assert "| 40 rows, 1 day | 44 days | 10 | 0.0% (10.0% to 90.0%) |" in text
    assert "| **unit** | 3 | 87% (60%) | 100% (100%) | 1 |" in text
    assert "| **unit** | wind | 60% (10% to 90%) | 70% | 100% (10% to 90%) |  | slope | 0.50 | 0.25 |" in text
    assert "| **unit** | heat |" not in text
    assert "Of 10 consecutive periods of the year,\nstarting every 3 days and compared" in text
    assert "| label rate | 0% (10% to 90%) | 10% | 90% (10% to 90%) | 95% | over 7 | column |" in text
