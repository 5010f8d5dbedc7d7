"""In parts, in any order: the same rows, events, reasons and features as at once."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.data.event_tables import ROWS, EventTables, IngestReport, ingest_tables
from fivestage.data.partitioned import FEATURES, Stored, featurise_parts, ingest_parts, spans
from fivestage.features.offline import build_features
from problem import PROBLEM
from problem.dataset import clean
from problem.raw import raw_folder, read_raw
from tests.conftest import changed, other

KEPT = 24  # one flight number in so many
MONTHS = 4


@pytest.fixture(scope="module")
def raw() -> dict[str, pd.DataFrame]:
    """Some flights of some months, of which a few are broken and a few are told twice."""
    tables = read_raw(raw_folder())
    flights, weather = tables["flights"], tables["weather"]
    mine = (flights["month"] <= MONTHS) & (flights["flight"] % KEPT == 0)
    some = flights[mine].reset_index(drop=True)
    some.loc[::1000, "arr_delay"] = 99_999
    some = pd.concat([some, some.iloc[5::2000]], ignore_index=True)
    early = weather["time_hour"] < pd.Timestamp(2013, MONTHS + 1, 1, tz="UTC")
    return tables | {"flights": some, "weather": weather[early]}


@pytest.fixture(scope="module")
def at_once(
    raw: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory
) -> tuple[pd.DataFrame, EventTables, IngestReport, pd.DataFrame]:
    rows, world, told = ingest_tables(
        clean(raw, PROBLEM.contract), PROBLEM.contract, tmp_path_factory.mktemp("aside"), "data"
    )
    return rows, world, told, build_features(PROBLEM.features, rows, world.events, world.reference)


def cut(raw: dict[str, pd.DataFrame], many: int, seed: int) -> dict[str, dict[str, pd.DataFrame]]:
    """Parts by name: days dealt out at random, so that each part reaches over all periods."""
    draw = np.random.default_rng(seed)
    dealt = {
        table: draw.integers(0, many, 366)[timestamp.dt.dayofyear.to_numpy()]
        for table, timestamp in (
            ("flights", pd.to_datetime(raw["flights"][["year", "month", "day"]])),
            ("weather", raw["weather"]["time_hour"]),
        )
    }
    return {
        f"part {number}": raw | {table: raw[table][part == number] for table, part in dealt.items()}
        for number in range(many)
    }


def stored(
    pieces: dict[str, dict[str, pd.DataFrame]],
    contract: Contract,
    folder: Path,
) -> Stored:
    problem = other(contract, {name: clean(piece, contract) for name, piece in pieces.items()})
    return ingest_parts(problem, str(folder / "store"), folder / "quarantine", "data")


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(many=st.integers(1, 4), seed=st.integers(0, 9), budget=st.integers(1, 6000))
def test_in_parts_is_as_at_once_to_the_last_bit(
    many: int,
    seed: int,
    budget: int,
    raw: dict[str, pd.DataFrame],
    at_once: tuple[pd.DataFrame, EventTables, IngestReport, pd.DataFrame],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    contract = changed(PROBLEM.contract, budget={"rows_in_memory": budget})
    found = stored(cut(raw, many, seed), contract, tmp_path_factory.mktemp("parts"))
    assert featurise_parts(found, other(contract)) == len(at_once[0])
    rows, world, told, features = at_once
    frames, last = found.frames, 10**6
    pd.testing.assert_frame_equal(frames.read(ROWS, 0, last), rows)
    for kind, frame in world.events.items():
        order = [contract.events[kind].known, *contract.events[kind].identity]
        expected = frame.sort_values(order, ignore_index=True)
        pd.testing.assert_frame_equal(frames.read(kind, 0, last), expected)
    pd.testing.assert_frame_equal(frames.read(FEATURES, 0, last), features, check_exact=True)
    assert found.reference == world.reference
    assert found.by_day == (rows["decision_at"] // 86_400).value_counts().to_dict()
    assert found.ingested.raw_rows["decisions"] == told.raw_rows["decisions"]


def test_what_is_put_aside_is_written_and_counted_as_at_once(
    raw: dict[str, pd.DataFrame],
    at_once: tuple[pd.DataFrame, EventTables, IngestReport, pd.DataFrame],
    tmp_path: Path,
) -> None:
    found = stored(cut(raw, 3, 0), PROBLEM.contract, tmp_path)
    assert found.ingested.quarantined == at_once[2].quarantined
    lines = [pd.read_csv(path) for path in (tmp_path / "quarantine").glob("part */raw.csv")]
    assert sum(map(len, lines)) == sum(at_once[2].quarantined.values())


def test_too_many_lost_rows_stop_the_work(raw: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    bad = raw["flights"].assign(arr_delay=99_999.0)
    with pytest.raises(UserError, match=r"^the raw tables: .* are in quarantine\."):
        stored({"one": raw | {"flights": bad}}, PROBLEM.contract, tmp_path)


def test_an_earlier_run_leaves_nothing(raw: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    few = raw | {"flights": raw["flights"][raw["flights"]["month"] == 1]}
    stored({"one": raw}, PROBLEM.contract, tmp_path)
    found = stored({"one": few}, PROBLEM.contract, tmp_path)
    assert len(found.frames.read(ROWS, 0, 10**6)) == sum(found.by_day.values()) < len(few["flights"]) + 1


def test_spans_keep_to_the_budget_with_the_periods_before() -> None:
    rows = dict.fromkeys(range(6), 10)
    assert list(spans(rows, 30)) == [(0, 2), (3, 5)]
    assert list(spans(rows, 30, before=1)) == [(0, 2), (3, 4), (5, 5)]
    assert list(spans(rows, 5)) == [(one, one) for one in range(6)]
    assert list(spans({}, 5)) == []
    assert list(spans({1: 10, 9: 10}, 30)) == [(1, 9)]


def test_a_period_and_the_one_before_hold_all_that_a_row_can_see(
    raw: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    few = raw | {"flights": raw["flights"][raw["flights"]["month"] == 1]}
    found = stored({"one": few}, PROBLEM.contract, tmp_path)
    assert found.frames.seconds == PROBLEM.features.lookback_seconds
