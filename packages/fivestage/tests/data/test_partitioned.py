"""Partitioned processing, in any order, gives the same rows, events, reasons and features as at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fivestage.common.clock import DAY
from fivestage.common.columns import Ints
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.data.event_tables import ROWS, EventTables, IngestReport
from fivestage.data.partitioned import FEATURES, Stored, spans
from fivestage.features.offline import build_features
from fivestage.features.problem import Tables
from tests.synthetic import DAYS, START, SyntheticProblem, changed, synthetic_problem
from tests.synthetic import tables as synthetic_tables

PROBLEM = synthetic_problem("binary")
Whole = tuple[pd.DataFrame, EventTables, IngestReport, pd.DataFrame]


@dataclass(frozen=True)
class InParts(SyntheticProblem):
    """A problem whose tables come in parts."""

    pieces: Mapping[str, Tables] = field(default_factory=dict)

    def load(self, contract: Contract, part: str = "") -> Tables:
        del contract
        return self.pieces[part]

    def parts(self) -> tuple[str, ...]:
        return tuple(self.pieces)


@pytest.fixture(scope="module")
def whole() -> Tables:
    """Some months of data with a few invalid, a few duplicate and a few rejected rows."""
    found = synthetic_tables(PROBLEM.contract)
    rows = found.rows.copy()
    rows.loc[::500, "amount"] = -1.0
    rows = pd.concat([rows, rows.iloc[5::700]]).sort_values(
        ["decision_at", "order_number"], ignore_index=True
    )
    lines = np.arange(0, 20, 5)
    rejected = pd.DataFrame({"table": "orders", "line": lines, "reason": "no time", "kept": lines > 10})
    return replace(found, rows=rows, rejected=rejected, quality={"rows read": 3_600, "share": 0.5})


@pytest.fixture(scope="module")
def at_once(whole: Tables, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    rows, event_tables, report = EventTables.ingest(
        whole, PROBLEM.contract, tmp_path_factory.mktemp("quarantine"), "data"
    )
    return (
        rows,
        event_tables,
        report,
        build_features(PROBLEM.features, rows, event_tables.events, event_tables.reference),
    )


def cut(whole: Tables, many: int, seed: int) -> dict[str, Tables]:
    """Parts by name: days are assigned at random, so that each part covers all periods."""
    part_of = np.random.default_rng(seed).integers(0, many, DAYS + 3)

    def part(frame: pd.DataFrame, column: str, number: int) -> pd.DataFrame:
        days: Ints = (frame[column].to_numpy() - START) // DAY + 1
        kept: pd.DataFrame = frame[part_of[days] == number]
        return kept

    times = {"delivery": "ended_at", "traffic": "hour"}
    return {
        f"part {number}": replace(
            whole,
            rows=part(whole.rows, "decision_at", number),
            events={kind: part(frame, times[kind], number) for kind, frame in whole.events.items()},
            rejected=whole.rejected[whole.rejected["line"] % many == number],
            quality={"rows read": 3_600 // many, "share": 0.5},
        )
        for number in range(many)
    }


def stored(pieces: dict[str, Tables], contract: Contract, folder: Path) -> Stored:
    problem = InParts(contract, pieces=pieces)
    return Stored.ingest(problem, folder / "quarantine", "data", str(folder / "store"))


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(many=st.integers(1, 4), seed=st.integers(0, 9), budget=st.integers(1, 6000))
def test_in_parts_is_as_at_once_to_the_last_bit(
    many: int,
    seed: int,
    budget: int,
    whole: Tables,
    at_once: Whole,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    contract = changed(PROBLEM.contract, budget={"rows_in_memory": budget})
    found = stored(cut(whole, many, seed), contract, tmp_path_factory.mktemp("parts"))
    assert found.featurise(InParts(contract)) == len(at_once[0])
    rows, event_tables, report, features = at_once
    frames, last = found.frames, 10**6
    pd.testing.assert_frame_equal(frames.read(ROWS, 0, last), rows)
    for kind, frame in event_tables.events.items():
        order = [contract.events[kind].known, *contract.events[kind].identity]
        expected = frame.sort_values(order, ignore_index=True)
        pd.testing.assert_frame_equal(frames.read(kind, 0, last), expected)
    pd.testing.assert_frame_equal(frames.read(FEATURES, 0, last), features, check_exact=True)
    assert found.reference == event_tables.reference
    assert found.by_day == (rows["decision_at"] // DAY).value_counts().to_dict()
    assert found.ingested.raw_rows["decisions"] == report.raw_rows["decisions"]


def test_what_is_quarantined_is_written_and_counted_as_at_once(
    whole: Tables,
    at_once: Whole,
    tmp_path: Path,
) -> None:
    found = stored(cut(whole, 3, 0), PROBLEM.contract, tmp_path)
    assert found.ingested.quarantined == at_once[2].quarantined
    assert found.ingested.quality == {"rows read": 3_600}  # shares do not add up
    written = [pd.read_csv(path) for path in (tmp_path / "quarantine").rglob("*.csv")]
    assert sum(map(len, written)) == sum(at_once[2].quarantined.values()) > 10


def test_a_kind_without_any_event_is_counted_as_at_once(whole: Tables, tmp_path: Path) -> None:
    quiet = replace(whole, events={**whole.events, "traffic": whole.events["traffic"].head(0)})
    _, _, report = EventTables.ingest(quiet, PROBLEM.contract, tmp_path / "at once", "data")
    found = stored(cut(quiet, 2, 0), PROBLEM.contract, tmp_path)
    assert found.ingested.raw_rows == report.raw_rows
    assert found.ingested.raw_rows["traffic"] == 0


def test_too_many_lost_rows_stop_the_work(whole: Tables, tmp_path: Path) -> None:
    lost = pd.concat([whole.rejected.assign(kept=False)] * 30)
    with pytest.raises(UserError, match=r"^the raw tables: .* are in quarantine, more than"):
        stored({"one": replace(whole, rejected=lost)}, PROBLEM.contract, tmp_path)


def test_an_earlier_run_leaves_nothing(whole: Tables, tmp_path: Path) -> None:
    few = replace(whole, rows=whole.rows.head(500))
    stored({"one": whole}, PROBLEM.contract, tmp_path)
    found = stored({"one": few}, PROBLEM.contract, tmp_path)
    assert len(found.frames.read(ROWS, 0, 10**6)) == sum(found.by_day.values()) <= 500


def test_spans_keep_to_the_budget_with_the_periods_before() -> None:
    rows = dict.fromkeys(range(6), 10)
    assert list(spans(rows, 30)) == [(0, 2), (3, 5)]
    assert list(spans(rows, 30, before=1)) == [(0, 2), (3, 4), (5, 5)]
    assert list(spans(rows, 5)) == [(one, one) for one in range(6)]
    assert list(spans({}, 5)) == []
    assert list(spans({1: 10, 9: 10}, 30)) == [(1, 9)]


def test_a_period_and_the_one_before_hold_all_that_a_row_can_see(whole: Tables, tmp_path: Path) -> None:
    found = stored({"one": whole}, PROBLEM.contract, tmp_path)
    assert found.frames.seconds == PROBLEM.features.lookback_seconds
