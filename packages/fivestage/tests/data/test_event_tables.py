"""Rows that violate the contract are quarantined and counted; events are selected by when they were known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.data.event_tables import EventTables, IngestReport, known_at, known_between
from fivestage.features.problem import Tables
from tests.synthetic import synthetic_problem

ROWS = 400
HOUR = 3600


@pytest.fixture(scope="module")
def contract() -> Contract:
    return synthetic_problem("binary").contract


@pytest.fixture(scope="module")
def tables(contract: Contract) -> Tables:
    """Tables of which cleaning has rejected a row and set a value to missing."""
    found = synthetic_problem("binary").load(contract)
    rejected = {"table": "orders", "line": [7, 9], "reason": ["no time", "no amount"], "kept": [False, True]}
    return replace(found, rejected=pd.DataFrame(rejected))


@pytest.fixture
def few(tables: Tables) -> Tables:
    """Some hundred rows of each table, and nothing rejected."""
    return replace(
        tables,
        rows=tables.rows.iloc[:ROWS].copy(),
        events={kind: frame.iloc[:ROWS].copy() for kind, frame in tables.events.items()},
        rejected=tables.rejected.iloc[:0],
    )


def ingest(
    tables: Tables, contract: Contract, folder: Path
) -> tuple[pd.DataFrame, EventTables, IngestReport]:
    return EventTables.ingest(tables, contract, folder, "hash of the data")


def test_clean_tables_pass_whole(few: Tables, contract: Contract, tmp_path: Path) -> None:
    rows, event_tables, ingested = ingest(few, contract, tmp_path)
    assert len(rows) == ROWS
    assert list(rows) == [*contract.columns, "decision_at", contract.label.name, "known_at"]
    assert {kind: len(frame) for kind, frame in event_tables.events.items()} == dict.fromkeys(
        contract.events, ROWS
    )
    assert event_tables.reference == few.reference
    expected = {"decisions": ROWS} | dict.fromkeys(contract.events, ROWS)
    assert ingested == IngestReport("hash of the data", expected, {}, few.quality)


def test_each_table_has_its_quarantine_file_even_if_empty(
    few: Tables, contract: Contract, tmp_path: Path
) -> None:
    folder = tmp_path / "quarantine"
    ingest(few, contract, folder)
    expected = {"raw.csv", "rows.csv", *(f"{kind}.csv" for kind in contract.events)}
    assert {path.name for path in folder.iterdir()} == expected
    assert all(pd.read_csv(path).empty for path in folder.iterdir())


def test_bad_rows_are_put_aside_with_reasons_and_counted(
    few: Tables, contract: Contract, tmp_path: Path
) -> None:
    few.rows.loc[[5, 9], "amount"] = [-20.0, 9000.0]
    few.events["traffic"].loc[7, "channel"] = "fax"
    rows, event_tables, ingested = ingest(few, contract, tmp_path)
    assert len(rows) == ROWS - 2
    assert rows["amount"].dropna().between(0, 2000).all()
    assert len(event_tables.events["traffic"]) == ROWS - 1
    assert ingested.raw_rows["decisions"] == ingested.raw_rows["traffic"] == ROWS
    assert ingested.quarantined == {
        "rows: amount outside 0 to 2000": 2,
        "traffic: channel not one of web, phone, shop": 1,
    }
    quarantined = pd.read_csv(tmp_path / "rows.csv")
    assert quarantined["row"].tolist() == [5, 9]
    assert quarantined["reason"].tolist() == [
        f"amount {value}: outside 0 to 2000" for value in ("-20.0", "9000.0")
    ]
    assert pd.read_csv(tmp_path / "traffic.csv")["channel"].tolist() == ["fax"]


def test_labels_stay_with_their_rows(few: Tables, contract: Contract, tmp_path: Path) -> None:
    few.rows.loc[3, "channel"] = "fax"
    rows, _, _ = ingest(few, contract, tmp_path)
    given = few.rows.drop(index=3).reset_index(drop=True)
    for name in ("decision_at", contract.label.name, "known_at", *contract.identity):
        assert rows[name].tolist() == given[name].tolist()


def test_what_the_raw_tables_lost_is_written_and_counted(
    few: Tables, tables: Tables, contract: Contract, tmp_path: Path
) -> None:
    rejected = tables.rejected
    assert sorted(rejected["kept"]) == [False, True]  # a row that is lost, a value set missing
    _, _, ingested = ingest(replace(few, rejected=rejected), contract, tmp_path)
    assert ingested.raw_rows["decisions"] == ROWS + 1
    assert set(ingested.quarantined) == set(rejected["table"] + ": " + rejected["reason"])
    assert pd.read_csv(tmp_path / "raw.csv")["line"].tolist() == rejected["line"].tolist()


@pytest.mark.parametrize("table", ["rows", "traffic"])
def test_too_many_bad_rows_stop_the_work_and_can_be_read(
    table: str, few: Tables, contract: Contract, tmp_path: Path
) -> None:
    frame = few.rows if table == "rows" else few.events[table]
    frame.loc[frame.index[:5], "channel"] = "fax"
    with pytest.raises(
        UserError, match=rf"{table}: 5 of 400 rows \(1\.2%\) are in quarantine, more than 1%"
    ) as refused:
        ingest(few, contract, tmp_path)
    path = tmp_path / f"{table}.csv"
    assert str(path) in str(refused.value)
    assert len(pd.read_csv(path)) == 5


def test_too_many_raw_rows_lost_stop_the_work(
    few: Tables, tables: Tables, contract: Contract, tmp_path: Path
) -> None:
    lost = pd.concat([tables.rejected.iloc[:1].assign(kept=False)] * 5, ignore_index=True)
    with pytest.raises(UserError, match=r"the raw tables: 5 of 405 rows"):
        ingest(replace(few, rejected=lost), contract, tmp_path)


def test_a_missing_column_is_named(few: Tables, contract: Contract, tmp_path: Path) -> None:
    few.events["delivery"].drop(columns="delay", inplace=True)  # noqa: PD002 (the table's own frame)
    with pytest.raises(UserError, match=r"problem/dataset\.py: delivery has no column delay"):
        ingest(few, contract, tmp_path)


def test_a_quarantine_that_cannot_be_written(few: Tables, contract: Contract, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        ingest(few, contract, tmp_path / "file")


def test_when_events_are_known(few: Tables, contract: Contract) -> None:
    events = few.events
    traffic = known_at(contract.events["traffic"], events["traffic"])
    assert np.array_equal(traffic, events["traffic"]["hour"] + HOUR)
    delivery = known_at(contract.events["delivery"], events["delivery"])
    assert np.array_equal(delivery, events["delivery"]["ended_at"])


def test_events_between_two_times_leave_the_first_and_hold_the_last(few: Tables, contract: Contract) -> None:
    hours = np.sort(few.events["traffic"]["hour"].unique())
    found = known_between(few.events, contract, int(hours[2]) + HOUR, int(hours[4]) + HOUR)
    assert sorted(found["traffic"]["hour"].unique()) == hours[3:5].tolist()
    assert set(found) == set(few.events)


def test_every_event_is_known_in_one_of_two_adjacent_spans(few: Tables, contract: Contract) -> None:
    middle = int(few.events["delivery"]["ended_at"].median())
    before, after = (
        known_between(few.events, contract, 0, middle),
        known_between(few.events, contract, middle, 2**40),
    )
    for kind, frame in few.events.items():
        assert len(before[kind]) + len(after[kind]) == len(frame)
        assert not set(before[kind].index) & set(after[kind].index)
    assert len(before["delivery"])
    assert len(after["delivery"])
