"""A table of one's own: what its columns are taken for, what is written, and what cannot work."""

import importlib.util
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from fivestage.common.clock import DAY
from fivestage.common.columns import Strings
from fivestage.common.errors import UserError
from fivestage.contract.contract import (
    CategoryColumn,
    Contract,
    MulticlassContract,
    NumberColumn,
    RegressionContract,
    Split,
    TimestampColumn,
    epoch,
)
from fivestage.contract.tasks import ClassificationGates, RegressionGates
from fivestage.data.cleaning import timestamp
from fivestage.data.event_tables import EventTables
from fivestage.data.tables import simulated_times
from fivestage.data.validation import validate
from fivestage.features.stores import OfflineFeatureStore
from fivestage.scaffold import write
from fivestage.scaffold.column_profiles import inspect_column, listed, names_of
from fivestage.scaffold.command import options_of
from fivestage.scaffold.demo import FILES, remove_demo
from fivestage.scaffold.draft import InitOptions, draft
from fivestage.scaffold.fields import as_yaml
from fivestage.scaffold.gates_plan import Seasons, SplitPlan, plan_limits, plan_windows, seasonal_variation
from fivestage.scaffold.leaks import SAMPLE, Sample
from fivestage.scaffold.sniffing import find_reader
from fivestage.scaffold.target import Target, find_target
from fivestage.scaffold.write import report, write_problem
from tests.scaffold import odd_tables

ROWS = 2_000
WINE = ("flavanoids", "color_intensity", "proline")  # a quick model needs them most


@pytest.fixture(scope="module")
def customers() -> pd.DataFrame:
    """Orders of customers, some of whom leave more often than others; German spelling, odd forms, leaks."""
    random = np.random.default_rng(0)
    timestamps = pd.Timestamp("2023-02-01") + pd.to_timedelta(
        np.sort(random.integers(0, 300 * DAY, ROWS)), unit="s"
    )
    who = random.integers(0, 60, ROWS)
    temper, price = random.normal(0, 1.5, 60), random.gamma(3, 400, ROWS).round(2)
    left = random.random(ROWS) < 1 / (1 + np.exp(1 - temper[who] - price / 2000))
    table = pd.DataFrame(
        {
            "Order ID": [f"o{number:05}" for number in range(ROWS)],
            "Signed Up At": timestamps.strftime("%d.%m.%Y %H:%M"),
            "Kunde": [f"c{one}" for one in who],
            "Größe (cm)": np.where(random.random(ROWS) < 0.1, np.nan, random.normal(170, 10, ROWS).round(1)),
            "plan": random.choice(["basic", "plus", "größe XL"], ROWS),
            "price": [f"{one:,.2f}".translate(str.maketrans(",.", ".,")) for one in price],
            "note": [" ".join(random.choice(["good", "bad", "slow"], 12)) for _ in range(ROWS)],
            "one": 1,
            "closed": (timestamps + pd.to_timedelta(random.integers(1, 30, ROWS), unit="D")).strftime(
                "%Y-%m-%d"
            ),
            "refund": np.where(left, price, 0),
            "Churned": np.where(left, "yes", "no"),
        }
    )
    return pd.concat([table, table.head(20)]).sample(frac=1, random_state=0)


@pytest.fixture(scope="module")
def problem(customers: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    customers.to_csv(folder / "customers.csv", sep=";", index=False)
    options = InitOptions(str(folder / "customers.csv"), "churned", "signed up at", keys=("Kunde",))
    write_problem(draft(options), folder / "problem")
    return folder / "problem"


def module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    made: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def table_of(source: str) -> pd.DataFrame:
    return find_reader(source)[1]


def split(windows: SplitPlan) -> Split:
    return Split(
        test_start=windows.test_start,
        test_end=windows.test_end,
        holdout_days=windows.holdout_days,
        folds=3,
        fold_days=windows.fold_days,
    )


def test_what_is_written_is_a_legal_contract_of_what_was_found(problem: Path) -> None:
    contract = Contract.load(problem / "problem.yaml")
    assert contract.decision.time_column == "signed_up_at"
    time = contract.columns["signed_up_at"]
    assert isinstance(time, TimestampColumn)
    assert time.example.date() == contract.split.test_start  # where the model's history ends
    assert contract.identity == ("order_id",)
    assert set(contract.columns) == {
        "order_id",
        "signed_up_at",
        "kunde",
        "grosse_cm",
        "plan",
        "price",
        "note",
    }
    assert contract.columns["grosse_cm"].nullable
    assert contract.columns["plan"].values == ("basic", "größe XL", "plus")  # type: ignore[union-attr]
    assert contract.slices == ("plan",)
    text = (problem / "problem.yaml").read_text(encoding="utf-8")
    assert "closed: suspected leak, it comes after the decision in 100%" in text
    assert "Is this when the outcome is known? Then KNOWN='closed'" in text
    assert "refund: suspected leak, alone it reaches ROC-AUC 1.000" in text
    assert "one: it has one value only" in text
    assert "RECONSIDER" in text
    window = contract.split
    assert window.test_end > window.test_start
    assert 0.2 < contract.costs.threshold < 0.5


def test_the_table_is_read_as_it_is_meant(problem: Path, customers: pd.DataFrame) -> None:
    contract = Contract.load(problem / "problem.yaml")
    tables = module(problem / "dataset.py").load(contract)
    rows = tables.rows
    assert len(rows) == ROWS  # without the repeated ones
    assert tables.quality["rows that repeat another one, left out"] == 20
    assert rows["decision_at"].is_monotonic_increasing
    first = customers[customers["Order ID"] == rows["order_id"].iloc[0]].iloc[0]
    assert rows["churned"].iloc[0] == (first["Churned"] == "yes")
    assert f"{rows['price'].iloc[0]:,.2f}".translate(str.maketrans(",.", ".,")) == first["price"]
    at = pd.Timestamp(rows["signed_up_at"].iloc[0], unit="s")
    assert at.strftime("%d.%m.%Y %H:%M") == first["Signed Up At"]
    told = tables.events["outcome"]
    assert (told["happened_at"].to_numpy() == np.sort(rows["known_at"])).all()
    assert set(told["churned"]) == {"yes", "no"}


def test_what_is_scored_has_the_tables_own_headers_and_the_values_of_training(
    problem: Path, customers: pd.DataFrame, tmp_path: Path
) -> None:
    contract, dataset = Contract.load(problem / "problem.yaml"), module(problem / "dataset.py")
    new = customers.drop_duplicates().drop(columns=["Churned", "closed", "refund"])
    new.to_csv(tmp_path / "new.csv", index=False, sep=";")
    batch = dataset.read_batch(str(tmp_path / "new.csv"), contract).set_index("order_id").sort_index()
    known = dataset.load(contract).rows.set_index("order_id").sort_index()
    pd.testing.assert_frame_equal(batch, known[list(batch)], check_dtype=False)
    assert [*batch, "order_id"] == [*list(contract.columns)[1:], "order_id"]


def test_what_is_scored_needs_no_made_up_columns(tmp_path: Path) -> None:
    write_problem(draft(InitOptions("sklearn:wine", "target", keep=WINE)), tmp_path)
    contract = Contract.load(tmp_path / "problem.yaml")
    batch = module(tmp_path / "dataset.py").read_batch("sklearn:wine", contract)
    assert set(batch) == set(contract.columns)
    assert batch["row_number"].is_unique
    text = (tmp_path / "problem.yaml").read_text(encoding="utf-8")
    before = text[: text.index("identity:")].rpartition("RECONSIDER")[2]
    assert "A request must contain\n# the number that its row will have in the table" in before
    assert "position in the table" in contract.columns["row_number"].about
    assert (batch["decided_at"] == epoch(contract.split.test_end)).all()


def test_history_is_the_same_for_one_row_and_for_all(problem: Path) -> None:
    """The windows of an entity come from the code that the demo's features use."""
    contract = Contract.load(problem / "problem.yaml")
    tables, features = module(problem / "dataset.py").load(contract), module(problem / "features.py")

    def columns(frame: pd.DataFrame) -> dict[str, Any]:
        text = frame.select_dtypes(exclude="number").columns
        return {
            str(name): Strings.of(frame[name]) if name in text else frame[name].to_numpy() for name in frame
        }

    past = OfflineFeatureStore.of(features.outcome_events(columns(tables.events["outcome"]), {}))
    rows = tables.rows
    at = rows["decision_at"].to_numpy()
    batch = {
        name: values
        for made in features.SETS.values()
        for name, values in made(columns(rows), at, past, {}).items()
    }
    history = past.history()
    for place in (0, 700, ROWS - 1):
        row = rows.iloc[place].to_dict()
        for made in features.SETS.values():
            for name, value in made(row, int(at[place]), history, {}).items():
                many = batch[name]
                seen = many.values[many.codes[place]] if isinstance(many, Strings) else many[place]
                assert value == seen or (value != value and seen != seen)  # noqa: PLR0124 (NaN)
    assert (
        batch[
            "kunde_28d_count" if "kunde_28d_count" in batch else f"kunde_{next(iter(features.WINDOWS))}_count"
        ].max()
        > 3
    )


def test_files_that_ruff_does_not_format_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$0: No module named ruff" >&2\nexit 1\n', encoding="utf-8")
    python.chmod(0o755)
    found = draft(InitOptions("sklearn:wine", "target", keep=WINE))
    monkeypatch.setattr("sys.executable", str(python))
    with pytest.raises(
        UserError, match=r"No module named ruff\. Nothing was written: install ruff with `make setup`"
    ):
        write_problem(found, tmp_path / "problem")
    assert not (tmp_path / "problem").exists()


def table(*, rows: int = 300, **columns: Any) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame({"a": random.normal(size=rows), "b": random.choice(["x", "y"], rows), **columns})


OUTCOME = np.random.default_rng(1).integers(0, 2, 300)
VALUES = np.random.default_rng(1).normal(size=300)
DAYS = pd.date_range("2021-11-25", periods=300, freq="D")


@pytest.mark.parametrize(
    ("frame", "options", "words"),
    [
        (table(y=OUTCOME), {"target": "churn"}, ["no column 'churn'", "'y'"]),
        (table(y=OUTCOME).set_axis(["39", "x", "no"], axis=1), {}, ["no column 'y'", "look like values"]),
        (table(y=1), {}, ["constant", "'1'"]),
        (table(y=np.nan), {}, ["empty in every row"]),
        (table(y=OUTCOME).head(60), {}, ["60 rows", "100 are needed"]),
        (table(y=(np.arange(300) < 4) * 1), {}, ["'1' in 4 rows of 300", "10 or more"]),
        (table(y=np.arange(300) % 5), {"task": "binary"}, ["5 values", "POSITIVE="]),
        (table(y=np.arange(300) % 5), {"positive": "7"}, ["POSITIVE=7 is none of them"]),
        (table(y=[f"n{one % 30}" for one in range(300)]), {}, ["30 values", "too many", "TASK=regression"]),
        (
            table(y=[f"n{one % 30}" for one in range(300)]),
            {"task": "regression"},
            ["needs numbers", "'n0'"],
        ),
        (table(y=np.where(np.arange(300) < 4, 2, OUTCOME)), {}, ["'2' in 4 rows of 300", "TASK=regression"]),
        (table(y=OUTCOME), {"task": "clustering"}, ["TASK=clustering", "multiclass"]),
        (table(y=OUTCOME, t=DAYS), {"time": "y"}, ["TIME", "TARGET"]),
        (table(y=OUTCOME, t="soon"), {"time": "t"}, ["'t' does not parse", "'soon'", "ISO 8601"]),
        (
            table(
                y=OUTCOME, t=DAYS.strftime("%d %B %Y").str.replace("May", "Mai").str.replace("March", "März")
            ),
            {"time": "t"},
            ["'t' does not parse: '01 März 2022'", "are not timestamps"],
        ),
        (table(y=OUTCOME, t=""), {"time": "t"}, ["'t' cannot be used", "empty"]),
        (
            table(y=OUTCOME, t="2021-11-25"),
            {"time": "t"},
            ["'t' cannot be used", "'2021-11-25'", "omit TIME"],
        ),
        (table(y=OUTCOME, t=2018), {"time": "t"}, ["'t' cannot be used", "'2018'", "omit TIME"]),
        (table(y=OUTCOME, t=DAYS, k="later"), {"time": "t", "known": "k"}, ["'k' does not parse", "KNOWN"]),
        (
            table(y=OUTCOME, t=DAYS, k=DAYS + pd.Timedelta(days=1)),
            {"time": "k", "known": "t"},
            ["'t' lies before 'k' in 100%"],
        ),
        (
            table(y=np.where(np.arange(300) > 250, OUTCOME, 0), t=DAYS),
            {"time": "t"},
            ["'1' in 0 rows before 2022-0", "omit TIME"],
        ),
        (table(y=OUTCOME, k=DAYS), {"known": "k"}, ["KNOWN=k also needs", "TIME"]),
        (pd.DataFrame({"y": OUTCOME, "id": np.arange(300)}), {}, ["No column is left", "KEEP='id'"]),
        (table(y=OUTCOME, g="one"), {"group": "g"}, ["GROUP=g has 1 different", "100%", "omit GROUP"]),
        (table(y=OUTCOME, g=np.maximum(np.arange(300), 200)), {"group": "g"}, ["67% of the rows"]),
        (table(y=OUTCOME), {"leave_out": ("c",)}, ["LEAVE_OUT", "no column 'c'"]),
        (table(y=OUTCOME), {"positive": "7"}, ["POSITIVE=7", "0, 1"]),
        (table(y=np.where(OUTCOME == 1, "X", "")), {}, ["all", "'X'", "fields are empty", "POSITIVE='X'"]),
    ],
)
def test_what_cannot_work_is_a_sentence(
    tmp_path: Path, frame: pd.DataFrame, options: dict[str, Any], words: list[str]
) -> None:
    frame.to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(UserError) as told:
        draft(InitOptions(**{"data": str(tmp_path / "table.csv"), "target": "y"} | options))
    assert all(word in str(told.value) for word in words), told.value


@pytest.mark.parametrize(
    ("values", "kind", "written"),
    [
        (DAYS.strftime("%m/%d/%Y"), "timestamp", "%m/%d/%Y"),
        (DAYS.strftime("%B %d, %Y"), "timestamp", "%B %d, %Y"),
        (DAYS.strftime("%d-%b-%y"), "timestamp", "%d-%b-%y"),
        (DAYS.strftime("%d. %B %Y"), "timestamp", "%d. %B %Y"),
        (DAYS.strftime("%A, %d %B %Y"), "timestamp", "%A, %d %B %Y"),
        (DAYS.strftime("%m/%d/%Y, %I:%M:%S %p"), "timestamp", "%m/%d/%Y, %I:%M:%S %p"),
        (DAYS.strftime("%H:%M %d/%m/%Y"), "timestamp", "%H:%M %d/%m/%Y"),
        (DAYS.strftime("%Y-%m-%d %H:%M:%S PDT"), "timestamp", "%Y-%m-%d %H:%M:%S %Z"),
        (DAYS.strftime("%Y%m%d%H%M%S").astype("int64"), "timestamp", "%Y%m%d%H%M%S"),
        (DAYS.as_unit("s").astype("int64") + 0.5, "timestamp", "s"),
        (
            DAYS.strftime("%a %b %d %Y %H:%M:%S GMT+0100 (Central European Standard Time)"),
            "timestamp",
            "%a %b %d %Y %H:%M:%S %Z",
        ),
        (DAYS.strftime("%Y-%m-%dT%H:%M:%S+01:00[Europe/Berlin]"), "timestamp", "ISO8601"),
        (["1,23,456", "7,89,012", "345"] * 100, "integer", ""),
        (DAYS.strftime("%Y-%m-%dT%H:%M:%S+02:00"), "timestamp", "ISO8601"),
        (DAYS.strftime("%Y%m%d").astype(int), "timestamp", "%Y%m%d"),
        (DAYS.as_unit("ms").astype("int64"), "timestamp", "ms"),
        ([f"${n:,}.50" for n in range(900, 1200)], "number", ""),
        ([f"{n} %" for n in range(300)], "integer", ""),
        (["\u22121.5", "(2)", "3-", "CHF 4", "5 EUR", "- 6.5"] * 50, "number", ""),
        (["n.k.", *map(str, range(1, 300))], "integer", ""),
        (["a b c d"] * 299 + ["e"], "category", ""),
        ([True, False] * 150, "category", ""),
    ],
)
def test_kinds_of_columns(values: Any, kind: str, written: str) -> None:
    found = inspect_column(pd.Series(values, name="made on"), "made_on")
    assert (found.kind, found.written) == (kind, written)


@pytest.mark.parametrize("zone", ["(CET)", "[Europe/Berlin]", "(America/New_York)", "(local time)"])
def test_a_zone_in_brackets_without_an_offset_is_not_read_as_utc(zone: str, tmp_path: Path) -> None:
    times = DAYS.strftime(f"%Y-%m-%d 18:04:00 {zone}")
    assert inspect_column(pd.Series(times, name="made on"), "made_on").kind != "timestamp"
    assert np.isnan(timestamp(pd.Series(times[:1]))).all()
    table(y=OUTCOME, at=times).to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(UserError, match="'at' does not parse"):
        draft(InitOptions(str(tmp_path / "table.csv"), "y", "at"))


def test_a_category_that_starts_with_a_day_is_no_timestamp() -> None:
    values = [f"2022-01-0{1 + one % 3} ({'abc'[one % 3]})" for one in range(300)]
    assert inspect_column(pd.Series(values, name="batch"), "batch").kind == "category"


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [(DAYS.strftime("%Y%m%d").astype(int), "timestamp"), (range(20240001, 20240301), "integer")],
)
def test_days_of_the_calendar_need_no_name(numbers: Any, kind: str) -> None:
    assert inspect_column(pd.Series(numbers, name="due"), "due").kind == kind


@pytest.mark.parametrize(
    ("written", "texts", "meant"),
    [
        (
            "%Y-%m-%d %H:%M %Z",
            ["2023-07-01 10:00 PDT", "2023-07-01 10:00 CET", "2023-07-01 10:00 GMT-11"],
            "2023-07-01T17:00 2023-07-01T08:00 2023-07-01T21:00",
        ),
        (
            "%Y-%m-%d %H:%M %Z",
            ["2023-10-29 02:30 CEST", "2023-10-29 02:30 CET", "2023-07-01 10:00 UTC+5:30"],
            "2023-10-29T00:30 2023-10-29T01:30 2023-07-01T04:30",
        ),
        (
            "ISO8601",
            ["2023-07-01T10:00+02:00[Europe/Berlin]", "2023-07-01T10:00:00Z[UTC]"],
            "2023-07-01T08:00 2023-07-01T10:00",
        ),
        ("%d/%m/%y", ["17/08/69", "01/02/41", "01/02/39"], "1969-08-17 1941-02-01 2039-02-01"),
        ("days of a spreadsheet", ["45000", "45000.5"], "2023-03-15 2023-03-15T12:00"),
        ("years", ["1960", "1960.5", "1969.75"], "1960-01-01 1960-07-02 1969-10-02"),
        ("quarters", ["1998 Q1", "1998-q2", "Q3 2001"], "1998-01-01 1998-04-01 2001-07-01"),
        ("ISO8601", ["2023-07-01T10:00+05:30", "2023-07-01T10:00"], "2023-07-01T04:30 2023-07-01T10:00"),
    ],
)
def test_times_are_those_meant(written: str, texts: list[str], meant: str) -> None:
    expected = [pd.Timestamp(one, tz="UTC").timestamp() for one in meant.split()]
    assert timestamp(pd.Series(texts), written).tolist() == expected


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([1880, 1881, 1882], "%Y"),
        ([1700.0, 1701.0, None], "%Y"),
        (["1998", "1999", "2000"], "%Y"),
        ([1945.0, 1945.25, 1945.5], "years"),
        (["1960 Jan", "1960 Feb", "1960 Mar"], "%Y %b"),
        (["1998 Q1", "1998 Q2", "1998 Q3"], "quarters"),
        (["Q1", "Q2", "Q3"], ""),
        (["1,998", "1,999", "2,000"], ""),
        (["1998.0", "1999.0", "unknown"], ""),
        (["2000,0", "2000,5", "2001,0"], ""),
        ([1.25, 1.5, 1.75], ""),
    ],
)
def test_a_column_that_is_said_to_be_times_may_hold_years_and_quarters(values: Any, written: str) -> None:
    assert inspect_column(pd.Series(values, name="due"), "due", is_time=True).written == written


def test_a_table_of_the_last_but_one_century_is_kept_whole(tmp_path: Path) -> None:
    frame = table(rows=200, y=OUTCOME[:200], year=np.arange(1790, 1990))
    frame.to_csv(tmp_path / "table.csv", index=False)
    write_problem(draft(InitOptions(str(tmp_path / "table.csv"), "y", "year")), tmp_path)
    contract = Contract.load(tmp_path / "problem.yaml")
    tables = module(tmp_path / "dataset.py").load(contract)
    kept, *_ = EventTables.ingest(tables, contract, tmp_path / "out", "")
    assert len(kept) == 200


def test_empty_fields_are_an_outcome_only_where_there_is_no_other() -> None:
    bottles = pd.DataFrame({"bottle": ["full", "empty", None] * 50, "flag": ["Empty", None, None] * 50})
    found = find_target(bottles, "bottle", "full")
    np.testing.assert_array_equal(found.label(bottles), [1, 0, np.nan] * 50)
    found = find_target(bottles, "flag", "Empty")
    np.testing.assert_array_equal(found.label(bottles), [1, 0, 0] * 50)


def test_what_a_person_should_know_is_said(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = table(y=np.where(np.arange(300) % 10 == 0, "unknown", np.where(OUTCOME == 1, "p", "q")))
    frame["age"] = np.where(np.arange(300) % 7 == 0, -999, random.integers(20, 60, 300))
    frame["rest"] = random.integers(-1, 9, 300)
    frame["weight"] = [f"{one:.1f} kg" for one in random.normal(70, 9, 300)]
    frame["street"] = [f"{one} {'ab'[one % 2]}" for one in random.integers(0, 90, 300)]
    frame["opens"] = [f"{one % 24:02}:{one % 60:02}" for one in range(300)]
    frame.to_csv(tmp_path / "table.csv", index=False)
    told = "\n".join(report(draft(InitOptions(str(tmp_path / "table.csv"), "y"))))
    for words in ("age: -999 is far", " kg' are read as", "opens: texts", "The class 'unknown'"):
        assert words in told
    assert "rest" not in told
    assert "street" not in told
    assert "Too good" not in told


def test_columns_that_tell_the_target_together_are_for_the_user_to_decide(tmp_path: Path) -> None:
    """Each alone tells little; no threshold could fire, so none is written without a decision."""
    random = np.random.default_rng(0)
    revenue, cost = random.gamma(3, 1, 3_000), random.gamma(3, 1, 3_000)
    frame = pd.DataFrame({"revenue": revenue, "cost": cost, "noise": random.normal(size=3_000)})
    frame.assign(profit=revenue > cost).to_csv(tmp_path / "table.csv", index=False)
    asked = InitOptions(str(tmp_path / "table.csv"), "profit")
    with pytest.raises(UserError, match=r"Too good to be true\? A quick model .* ROC-AUC 0.99") as told:
        draft(asked)
    assert "LEAVE_OUT='cost,revenue'" in str(told.value) or "LEAVE_OUT='revenue,cost'" in str(told.value)
    assert "noise" not in str(told.value)
    assert draft(replace(asked, leave_out=("cost",))).quick.score < 0.9
    kept = draft(replace(asked, keep=("revenue", "cost")))
    assert "revenue is kept, though with others it lets a quick model reach" in "\n".join(report(kept))
    write_problem(kept, tmp_path / "problem")
    contract = Contract.load(tmp_path / "problem" / "problem.yaml")
    assert set(contract.suspected_leaks) == {"revenue", "cost"}


@pytest.mark.parametrize(
    ("target", "copy"),
    [(VALUES, 3 - 2 * VALUES), (OUTCOME, np.where(OUTCOME == 1, "p", "q")), (DAYS.day_name(), DAYS.weekday)],
)
def test_the_target_under_another_name_is_left_out(target: Any, copy: Any, tmp_path: Path) -> None:
    table(y=target, z=copy).to_csv(tmp_path / "table.csv", index=False)
    found = draft(InitOptions(str(tmp_path / "table.csv"), "y"))
    assert [one.header for one in found.left_out] == ["z"]
    assert re.search(r"z: suspected leak, alone it reaches (ROC-AUC|R²) 1\.000", "\n".join(report(found)))


def test_the_leak_is_named_alone_and_what_was_dropped_is_said_too(tmp_path: Path) -> None:
    """An honest column, the most important of those, is not for the user to leave out."""
    random = np.random.default_rng(4)
    hours = random.normal(size=3_000)
    broken = hours + random.normal(size=3_000) > 0
    frame = pd.DataFrame({"hours": hours, "duration": broken + random.normal(0, 0.27, 3_000)})
    frame["final cost"] = np.where(broken, 900.0, 0.0) + random.random(3_000)
    frame.assign(broken=broken).to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(UserError, match="Too good to be true") as stopped:
        draft(InitOptions(str(tmp_path / "table.csv"), "broken"))
    assert "Most important: 'duration' (without: 0.8" in str(stopped.value)
    assert "hours" not in str(stopped.value)
    assert "Left out already: 'final cost' (suspected leak, alone it reaches ROC-AUC" in str(stopped.value)


@pytest.mark.parametrize("rows", [300, 3_000])
def test_a_number_that_follows_one_column_along_a_line_is_a_suspect_however_few_rows(
    tmp_path: Path, rows: int
) -> None:
    """A tree of so few rows cannot follow the line, so no tree may be the only judge."""
    random = np.random.default_rng(1)
    amount = random.gamma(2, 20, rows)
    frame = pd.DataFrame({"invoice": 1.19 * amount + random.normal(0, 0.05, rows), "amount": amount})
    frame.assign(other=random.normal(size=rows)).to_csv(tmp_path / "table.csv", index=False)
    found = draft(InitOptions(str(tmp_path / "table.csv"), "amount"))
    assert "invoice" in [one.header for one in found.left_out]


def test_a_number_that_two_columns_give_together_is_for_the_user_to_decide(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    gross, tax = random.gamma(3, 30, 400), random.gamma(3, 10, 400)
    frame = pd.DataFrame({"gross": gross, "tax": tax, "net": gross - tax, "other": random.normal(size=400)})
    frame.to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(
        UserError, match=r"Too good to be true\? .* R² 1\.000\. Most important: 'gross', 'tax'"
    ):
        draft(InitOptions(str(tmp_path / "table.csv"), "net"))


@pytest.mark.parametrize("rows", [400, 20_000])
def test_where_a_quick_model_is_notably_good_a_gate_can_tell_a_leak_or_the_user_must(
    rows: int, tmp_path: Path
) -> None:
    """A threshold that cannot fire is never written; without one, whoever knows the table decides."""
    random = np.random.default_rng(3)
    bad = random.random(rows) < 0.5
    frame = pd.DataFrame({"refund": np.where(bad & (random.random(rows) < 0.85), 10.0, 0.0)})
    frame.assign(other=random.normal(size=rows), bad=bad).to_csv(tmp_path / "table.csv", index=False)
    asked, asks = InitOptions(str(tmp_path / "table.csv"), "bad"), rows == 400
    if asks:
        with pytest.raises(UserError, match=r"has ROC-AUC 0\.9.*'refund'.*LEAVE_OUT='refund'.*KEEP='refund'"):
            draft(asked)
        asked = replace(asked, keep=("refund",))
    found = draft(asked)
    assert 0.9 < found.quick.score < 0.99
    write_problem(found, tmp_path / "problem")
    contract = Contract.load(tmp_path / "problem" / "problem.yaml")
    assert isinstance(contract.gates, ClassificationGates)
    if asks:
        assert contract.gates.suspicious_roc_auc is None
        assert set(contract.suspected_leaks) == {"refund"}
    else:
        assert contract.gates.suspicious_roc_auc is not None
        assert found.quick.score < contract.gates.suspicious_roc_auc < 1
        assert "it is a leak: LEAVE_OUT='refund'" in "\n".join(report(found))


def test_a_name_with_a_comma_stands_in_quotes_as_init_itself_writes_it(tmp_path: Path) -> None:
    frame = table(y=OUTCOME, c=VALUES[::-1]).assign(**{"a, b": VALUES})
    frame.to_csv(tmp_path / "table.csv", index=False)
    left = {"LEAVE_OUT": listed(("a, b", "c"))}
    found = draft(options_of({"DATA": str(tmp_path / "table.csv"), "TARGET": "y"} | left))
    assert [one.header for one in found.left_out] == ["c", "a, b"]


def test_a_row_that_has_been_cut_off_is_named(tmp_path: Path) -> None:
    lines = ["a,b,y", *(f"{one},{one % 7},{one % 2}" for one in range(200))]
    (tmp_path / "table.csv").write_text("\n".join([*lines[:57], "56,0", *lines[58:]]))
    with pytest.raises(UserError, match=r"line 58 has 2 fields, the headers are 3\. Fix that line"):
        draft(InitOptions(str(tmp_path / "table.csv"), "y"))


@pytest.mark.parametrize(
    ("value", "written"),
    [(2.4e-9, "2.4e-09"), (-3e22, "-3.0e+22"), (1 / 3 * 1e-5, "3.3333333333333333e-06"), (0.25, "0.25")],
)
def test_numbers_are_written_as_short_as_they_are_read_back(value: float, written: str) -> None:
    assert as_yaml(value) == written
    assert yaml.safe_load(written) == value


def test_names_are_plain_and_none_twice() -> None:
    names = names_of(
        ["Größe (cm)", "größe cm", "長さ", "город", "🙂", "%", "2nd", "known_at", "customerID", "used kWh"],
        ["known_at"],
    )
    assert list(names.values()) == [
        "grosse_cm",
        "grosse_cm_2",
        "zhangsa",
        "gorod",
        "slight_smile",
        "column_6",
        "column_2nd",
        "known_at_2",
        "customer_id",
        "used_kwh",
    ]


def test_several_classes_and_numbers_have_contracts_of_their_own(tmp_path: Path) -> None:
    write_problem(draft(InitOptions("sklearn:wine", "target", keep=WINE)), tmp_path)
    wine = Contract.load(tmp_path / "problem.yaml")
    assert isinstance(wine, MulticlassContract)
    assert wine.label.classes == ("class_0", "class_1", "class_2")
    assert set(wine.costs.actions) == {"class_0", "class_1", "class_2"}
    assert set(module(tmp_path / "dataset.py").load(wine).rows["target"]) == {0, 1, 2}
    write_problem(draft(InitOptions("sklearn:diabetes", "target")), tmp_path)
    diabetes = Contract.load(tmp_path / "problem.yaml")
    assert isinstance(diabetes, RegressionContract)
    assert diabetes.costs.under == 2 * diabetes.costs.over
    assert "RECONSIDER: of what?" in (tmp_path / "problem.yaml").read_text(encoding="utf-8")
    rows = module(tmp_path / "dataset.py").load(diabetes).rows
    assert sorted(rows["target"]) == sorted(table_of("sklearn:diabetes")["target"])


def test_slices_are_judged_with_enough_rows_of_what_is_rare(tmp_path: Path) -> None:
    frame = table(y=np.where(np.arange(3_000) % 100 == 0, "yes", "no"), rows=3_000)
    frame.to_csv(tmp_path / "table.csv", index=False)
    write_problem(draft(InitOptions(str(tmp_path / "table.csv"), "y")), tmp_path)
    assert Contract.load(tmp_path / "problem.yaml").gates.min_slice_rows == 1_000


@pytest.mark.parametrize(("far", "least", "most"), [(0.0, 0.05, 0.15), (0.3, 0.25, 0.35)])
def test_no_gate_asks_to_foresee_the_tables_own_seasons(
    tmp_path: Path, far: float, least: float, most: float
) -> None:
    """A rate that moves with the months bears a bias as large; one that stays bears that of chance."""
    rows = 6_000
    random, days = np.random.default_rng(0), np.linspace(0, 364, rows)
    late = random.random(rows) < 0.4 + far / 2 * np.sin(days / 365 * 4 * np.pi)
    at = (pd.Timestamp("2023-01-01") + pd.to_timedelta(days, unit="D")).strftime("%Y-%m-%d %H:%M")
    frame = pd.DataFrame({"at": at, "size": random.normal(0, 1, rows).round(3), "late": late})
    frame.to_csv(tmp_path / "table.csv", index=False)
    write_problem(draft(InitOptions(str(tmp_path / "table.csv"), "late", "at")), tmp_path)
    gates = Contract.load(tmp_path / "problem.yaml").gates
    assert least < gates.max_bias < most
    assert isinstance(gates, ClassificationGates)
    assert least < gates.max_calibration_error < most


@pytest.mark.parametrize(("swing", "least", "most"), [(0.0, 0.05, 0.1), (1.0, 0.1, 0.3)])
def test_no_gate_asks_intervals_to_foresee_them_either(
    tmp_path: Path, swing: float, least: float, most: float
) -> None:
    days = np.linspace(0, 364, 6_000)
    minutes = np.random.default_rng(0).normal(0, 1, days.size) + swing * 2 * np.sin(days / 365 * 4 * np.pi)
    at = (pd.Timestamp("2023-01-01") + pd.to_timedelta(days, unit="D")).strftime("%Y-%m-%d %H:%M")
    pd.DataFrame({"at": at, "minutes": minutes.round(3)}).to_csv(tmp_path / "table.csv", index=False)
    write_problem(draft(InitOptions(str(tmp_path / "table.csv"), "minutes", "at")), tmp_path)
    gates = Contract.load(tmp_path / "problem.yaml").gates
    assert isinstance(gates, RegressionGates)
    assert least < gates.max_coverage_error < most


@pytest.mark.parametrize("rare", range(10, 40, 3))
def test_each_window_of_made_up_times_has_a_row_of_a_rare_class(rare: int) -> None:
    label = pd.Series(np.arange(150) < rare, dtype="float64")
    windows = plan_windows(None, len(label))
    at = simulated_times(label, windows.simulated, split(windows)).to_numpy()[:rare]
    ends = (
        epoch(windows.test_start)
        - np.array([0, *(windows.holdout_days + windows.fold_days * np.arange(4))]) * DAY
    )
    assert (-np.diff([(at < end).sum() for end in ends]) >= 1).all()
    assert (at >= epoch(windows.test_start)).sum() >= rare // 5


@pytest.mark.parametrize("groups", [0, 170])
def test_made_up_times_of_numbers_are_everywhere(groups: int) -> None:
    draw = np.random.default_rng(0)
    label = pd.Series(draw.normal(size=900 if groups else 150))
    of = pd.Series(draw.integers(0, groups, len(label))) if groups else None
    at = simulated_times(label, 140, split(plan_windows(None, 150)), groups=of)
    assert len(np.unique(at // DAY)) > 50


def test_no_fold_lies_in_a_gap_of_the_table() -> None:
    """As of a year whose February to September nobody has kept."""
    day = np.repeat([*range(30), *range(270, 310)], 100)
    windows = plan_windows(pd.Series(day * DAY, dtype="float64"), day.size)
    ends = np.arange(4) * windows.fold_days + windows.holdout_days
    back = epoch(windows.test_start) // DAY - day
    assert all(((back > end) & (back <= end + windows.fold_days)).sum() >= 100 for end in ends[:3].tolist())


def test_what_is_often_the_same_is_no_season(tmp_path: Path) -> None:
    """An interval of numbers that are mostly zero holds more than its share whenever it is looked at."""
    spent = np.random.default_rng(0).gamma(1, 50, 6_000) * (np.arange(6_000) % 10 < 3)
    at = pd.date_range("2023-01-01", periods=6_000, freq="90min")
    pd.DataFrame({"at": at, "spent": spent.round(2)}).to_csv(tmp_path / "table.csv", index=False)
    assert draft(InitOptions(str(tmp_path / "table.csv"), "spent", "at")).seasons.held < 0.03


def test_made_up_times_that_follow_an_order_have_its_seasons() -> None:
    at = pd.Series(np.arange(4_000) // 500 * 365 * DAY, dtype="float64")  # eight years, and no days
    numbers = np.random.default_rng(0).normal(size=4_000) + np.arange(4_000) / 400
    windows = plan_windows(at, 4_000)
    assert windows.simulated
    assert seasonal_variation(Target("y", (), ()), pd.DataFrame({"y": numbers}), at, windows).mean > 3
    assert seasonal_variation(Target("y", (), ()), pd.DataFrame({"y": numbers}), None, windows).mean == 0


def test_seasons_are_those_before_the_test() -> None:
    at = pd.Series(np.arange(400) * DAY, dtype="float64")
    numbers = np.random.default_rng(0).normal(size=400)
    windows = plan_windows(at, 400)
    numbers[at >= epoch(windows.test_start)] += 1_000
    assert seasonal_variation(Target("y", (), ()), pd.DataFrame({"y": numbers}), at, windows).mean < 2


@pytest.mark.parametrize("target", ["minutes", "long", "kind"])
def test_what_entities_tell_is_not_too_good_to_be_true(target: str, tmp_path: Path) -> None:
    """Histories will know them, so the quick model that says what is suspicious knows them too."""
    random = np.random.default_rng(0)
    where = random.integers(0, 40, 3_000)
    minutes = where * 10 + random.normal(0, 5, 3_000)
    told = {"minutes": minutes.round(2), "long": minutes > 200, "kind": pd.cut(minutes, 3, labels=[*"abc"])}
    frame = pd.DataFrame({"noise": random.normal(size=3_000), "where": where.astype(str), "y": told[target]})
    frame.to_csv(tmp_path / "table.csv", index=False)
    assert draft(InitOptions(str(tmp_path / "table.csv"), "y", keys=("where",))).quick.score > 0.97


def test_a_column_with_hardly_a_value_does_not_stop_the_quick_model(tmp_path: Path) -> None:
    """Half of the rows have none."""
    seldom = np.full(300, np.nan)
    seldom[[5, 6]] = 1, 2
    table(y=OUTCOME, seldom=seldom).to_csv(tmp_path / "table.csv", index=False)
    for order in range(4):
        rolled = pd.read_csv(tmp_path / "table.csv").assign(seldom=np.roll(seldom, 37 * order))
        rolled.to_csv(tmp_path / "table.csv", index=False)
        assert 0 <= draft(InitOptions(str(tmp_path / "table.csv"), "y")).quick.score <= 1


def test_what_the_hour_tells_is_not_too_good_to_be_true(tmp_path: Path) -> None:
    """As of calls that come by day."""
    at = pd.date_range("2022-01-03", periods=5_000, freq="40min")
    calls = 100 * np.sin(np.pi * at.hour / 24) + np.random.default_rng(0).normal(0, 5, len(at))
    pd.DataFrame({"at": at, "calls": calls.round(1)}).to_csv(tmp_path / "table.csv", index=False)
    found = draft(InitOptions(str(tmp_path / "table.csv"), "calls", "at"))
    assert found.features == ()
    assert found.quick.score > 0.9


def test_what_grows_with_time_is_not_watched_for_drift(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    at = pd.date_range("2022-01-01", periods=3_000, freq="6h")
    frame = pd.DataFrame({"at": at, "size": random.normal(size=3_000), "y": random.integers(0, 2, 3_000)})
    frame = frame.assign(year=at.year, price_index=100 + np.arange(3_000) / 30 + random.normal(0, 2, 3_000))
    frame.to_csv(tmp_path / "table.csv", index=False)
    write_problem(draft(InitOptions(str(tmp_path / "table.csv"), "y", "at")), tmp_path)
    assert Contract.load(tmp_path / "problem.yaml").monitoring.unwatched == ("year", "price_index")


def test_more_than_the_prior_is_asked_where_enough_can_be_seen(tmp_path: Path) -> None:
    asked = {}
    for every in (100, 3):
        frame = table(y=np.where(np.arange(3_000) % every == 0, "yes", "no"), rows=3_000)
        frame.to_csv(tmp_path / "table.csv", index=False)
        write_problem(draft(InitOptions(str(tmp_path / "table.csv"), "y")), tmp_path)
        asked[every] = Contract.load(tmp_path / "problem.yaml").baselines["prior"]
    assert asked == {100: 0.0, 3: 0.02}


@pytest.mark.parametrize(
    ("rows", "reached", "least", "most"),
    [(146, 0.84, 0.999, 0.999), (146, 0.95, None, None), (11, 0.84, None, None), (9_000, 0.84, 0.92, 0.96)],
)
def test_what_is_perfect_is_suspicious_unless_chance_or_a_quick_model_does_it(
    rows: int, reached: float, least: Any, most: Any
) -> None:
    target = Target("y", ("no", "yes"), (0.7, 0.3))
    windows = replace(plan_windows(None, 1_000), holdout_rows=rows)
    found = plan_limits(target, windows, 70, reached, Seasons()).suspicious
    assert found is None if least is None else least <= found <= most  # a limit of 1 could never fire


def test_a_limit_is_compared_with_numbers_that_have_decimal_commas(tmp_path: Path) -> None:
    frame = orders(1, 2_000, "2023-01-01")
    used = np.random.default_rng(0).uniform(100, 500, len(frame)).round(2)
    frame["used"] = pd.Series(used, index=frame.index).map("{:.2f}".format).str.replace(".", ",")
    frame.to_csv(tmp_path / "table.csv", index=False, sep=";")
    write_problem(draft(InitOptions(str(tmp_path / "table.csv"), "used", "at", positive="> 300")), tmp_path)
    loaded = module(tmp_path / "dataset.py").load(Contract.load(tmp_path / "problem.yaml")).rows
    assert loaded["used"].mean() == pytest.approx((used > 300).mean(), abs=0.01)


def test_many_values_by_one_of_them_or_a_limit(tmp_path: Path) -> None:
    wine = draft(
        InitOptions("sklearn:wine", "target", positive="class_2", keep=("flavanoids", "color_intensity"))
    ).target
    assert wine.classes == ("not class_2", "class_2")
    assert draft(InitOptions("sklearn:diabetes", "target", positive="> 150")).target.shares[
        1
    ] == pytest.approx(0.45, abs=0.03)
    write_problem(
        draft(
            InitOptions("sklearn:wine", "target", positive="class_2", keep=("flavanoids", "color_intensity"))
        ),
        tmp_path,
    )
    tables = module(tmp_path / "dataset.py").load(Contract.load(tmp_path / "problem.yaml"))
    assert tables.rows["target"].sum() == 48
    thirds = np.array_split(tables.rows["target"], 3)
    assert max(abs(third.mean() - 48 / 178) for third in thirds) < 0.05  # made-up timestamps are stratified


def test_a_target_may_have_any_name(tmp_path: Path) -> None:
    """Also that of what libraries make of it on the way."""
    for header in ("count", "value", "rows", "index", "level_0", "proportion"):
        path = tmp_path / f"{header}.csv"
        table().assign(**{header: OUTCOME}).to_csv(path, index=False)
        assert draft(InitOptions(str(path), header)).target.header == header


def test_tables_from_everywhere(tmp_path: Path) -> None:
    frame = table(y=OUTCOME)
    (tmp_path / "parts").mkdir()
    frame.head(100).to_parquet(tmp_path / "parts" / "one.parquet")
    frame.tail(200).to_parquet(tmp_path / "parts" / "two.parquet")
    frame.to_csv(tmp_path / "latin.csv.gz", index=False, encoding="cp1252", sep="\t")
    frame.to_csv("memory://bucket/table.csv", index=False)
    with sqlite3.connect(tmp_path / "base.db") as base:
        frame.to_sql("orders", base, index=False)
        frame.to_sql("my orders", base, index=False)
    for source in (
        tmp_path / "parts",
        tmp_path / "latin.csv.gz",
        "memory://bucket/table.csv",
        f"sqlite:///{tmp_path}/base.db#orders",
        f"sqlite:///{tmp_path}/base.db#my orders",
        f"sqlite:///{tmp_path}/base.db#select a, b, y from orders",  # noqa: S608 (our own)
    ):
        pd.testing.assert_frame_equal(table_of(str(source)), frame, check_dtype=False)


def test_a_line_break_within_a_field_of_a_table_with_returns_does_not_either(tmp_path: Path) -> None:
    (tmp_path / "mac.csv").write_bytes(b'said,y\r"one\ntwo",1\r' + b'"one",0\r' * 20)
    assert table_of(str(tmp_path / "mac.csv")).shape == (21, 2)


def test_a_return_within_a_field_does_not_stop_the_reading(tmp_path: Path) -> None:
    """As pandas writes it, without quotes."""
    frame = pd.DataFrame({"said": ["one\rtwo" if row % 50 == 49 else "one" for row in range(40_000)], "y": 1})
    frame.to_csv(tmp_path / "said.csv", index=False)
    assert len(table_of(str(tmp_path / "said.csv"))) == len(frame)


@pytest.mark.parametrize(
    "source",
    ["nowhere.csv", "sklearn:nothing", "sqlite:///nowhere.db#t", "postgresql://u:secret@127.0.0.1:1/d#t"],
)
def test_a_source_that_is_none_is_a_sentence_without_its_password(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as told:
        table_of(source)
    assert "secret" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_the_demo_goes_once_and_tests_of_ones_own_stay(tmp_path: Path) -> None:
    for name in FILES:
        path = tmp_path / name
        path = path if path.suffix else path / "test_one.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("demo")
    (tmp_path / "tests" / "test_mine.py").write_text("mine")
    assert remove_demo(tmp_path) == [*FILES]
    assert [str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*.*")] == ["tests/test_mine.py"]
    assert not remove_demo(tmp_path)
    assert (tmp_path / "tests" / "test_mine.py").read_text() == "mine"


def test_of_a_table_with_few_frauds_nearly_all_are_looked_at_for_leaks() -> None:
    rows, frauds = SAMPLE + 5_000, 100
    table = pd.DataFrame({"fraud": np.arange(rows) < frauds})
    some = Sample.of(table, Target("fraud", ("False", "True"), (1 - frauds / rows, frauds / rows))).rows
    assert some.index.is_unique
    assert len(some) == SAMPLE
    assert some["fraud"].sum() > 0.95 * frauds


def made_of(frame: pd.DataFrame, folder: Path, **words: Any) -> Path:
    """The problem of a table with the target `y`."""
    folder.mkdir(exist_ok=True)
    frame.to_csv(folder / "table.csv", index=False)
    write_problem(draft(InitOptions(str(folder / "table.csv"), "y", **words)), folder / "problem")
    return folder / "problem"


def orders(first: int, rows: int, start: str) -> pd.DataFrame:
    random = np.random.default_rng(first)
    at = pd.date_range(start, periods=rows, freq="3h")
    return pd.DataFrame(
        {
            "order_id": np.arange(first, first + rows),
            "at": at,
            "year": at.year,
            "meter": np.arange(first, first + rows) * 7 + random.integers(0, 5, rows),
            "visits": random.poisson(40, rows),
            "grade": random.integers(1, 6, rows),
            "customer": random.integers(1, 60, rows),
            "y": random.integers(0, 2, rows),
        }
    )


def test_what_grows_may_grow_on_and_nonsense_may_not(tmp_path: Path) -> None:
    """As of a year of newer orders: higher numbers, later days, a meter that went on, busier customers."""
    folder = made_of(orders(1, 2_000, "2023-01-01"), tmp_path, time="at", keys=("customer",))
    contract = Contract.load(folder / "problem.yaml")
    newer = orders(16_001, 3_000, "2024-06-01").assign(visits=lambda table: table["visits"] * 3)
    newer.to_csv(tmp_path / "newer.csv", index=False)
    rows = module(folder / "dataset.py").read_batch(str(tmp_path / "newer.csv"), contract)
    checked = validate(rows, contract.columns, contract.identity, "newer.csv")
    assert checked.quarantined.empty, checked.failures
    wrong = rows.head(3).assign(grade=[100, 3, 3], visits=[40, -1, 40], order_id=[1.0, 2.0, 2.5])
    assert len(validate(wrong, contract.columns, contract.identity, "wrong").failures) == 3


@pytest.mark.parametrize(("days", "later", "said"), [(0, False, 0), (3, True, 1), (9, True, 1)])
def test_a_period_is_judged_once_most_of_its_labels_have_arrived(
    days: int, said: int, tmp_path: Path, *, later: bool
) -> None:
    frame = orders(1, 2_000, "2023-01-01")
    folder = made_of(
        frame.assign(back=frame["at"] + pd.Timedelta(days=days)), tmp_path, time="at", known="back"
    )
    contract = Contract.load(folder / "problem.yaml")
    assert contract.monitoring.period_days in (6, 7)
    assert contract.monitoring.min_label_share == 0.9
    text = (folder / "problem.yaml").read_text(encoding="utf-8")
    assert re.search(r"# RECONSIDER: [^#]*labels.*By back,\n  # at least \d+% were there", text)
    assert ("evaluated at the end of a later period" in text) is later
    found = draft(InitOptions(str(tmp_path / "table.csv"), "y", "at", known="back"))
    assert sum("Outcomes come late: by back" in one for one in report(found)) == said


def test_what_is_read_away_from_numbers_and_times_is_said(tmp_path: Path) -> None:
    frame = orders(1, 2_000, "2023-01-01")
    frame["deposit"] = [f"€{one}.50" for one in frame["meter"]]
    frame["discount"] = [f"{one} %" for one in frame["visits"]]
    frame["zoned"] = [f"{one:%Y-%m-%dT%H:%M:%S}+02:00" for one in frame["at"] - pd.Timedelta(days=3)]
    folder = made_of(frame, tmp_path, time="at")
    told = [*report(draft(InitOptions(str(tmp_path / "table.csv"), "y", "at")))]
    assert "deposit: numbers are read without their '€'." in told
    assert "discount: numbers are read without their '%'." in told
    assert any(one.startswith("Times without a zone are read as UTC: at.") for one in told)
    calendar = (folder / "features.py").read_text(encoding="utf-8")
    assert 'zone = "UTC"  # RECONSIDER: the zone' in calendar


def test_a_key_that_is_a_number_has_one_form_everywhere(tmp_path: Path) -> None:
    """Also in a table whose gaps make its whole numbers floats."""
    frame = orders(1, 2_000, "2023-01-01").astype({"customer": "float64"})
    frame.loc[::50, "customer"] = np.nan
    folder = made_of(frame, tmp_path, time="at", keys=("customer",))
    contract = Contract.load(folder / "problem.yaml")
    for column in (contract.columns["customer"], contract.events["outcome"].columns["customer"]):
        assert isinstance(column, CategoryColumn)
        assert column.form == "integer"
        assert column.example == str(int(float(column.example)))
    _, event_tables, _ = EventTables.ingest(
        module(folder / "dataset.py").load(contract), contract, tmp_path / "out", ""
    )
    histories = set(event_tables.events["outcome"]["customer"].dropna())
    assert histories == {str(one) for one in range(1, 60)}


def test_a_key_with_zeros_before_it_is_a_text(tmp_path: Path) -> None:
    """0012 and 12 are two customers."""
    frame = orders(1, 2_000, "2023-01-01")
    frame["customer"] = [f"k{one:04}" for one in frame["customer"]]
    folder = made_of(frame, tmp_path, time="at", keys=("customer",))
    assert "form: integer" not in (folder / "problem.yaml").read_text()
    padded = inspect_column(pd.Series(["0012", "0013", "12"] * 20, name="customer"), "customer")
    assert not padded.whole


def test_a_table_in_the_project_is_named_by_its_relative_path_and_another_one_is_said_to_be_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first is found by CI and by the cluster; an empty variable counts as none."""
    monkeypatch.setenv("FIVESTAGE_DATA", "")
    outside = made_of(orders(1, 2_000, "2023-01-01"), tmp_path, time="at")
    chosen = module(outside / "dataset.py").DATA
    assert chosen == str(tmp_path / "table.csv")
    found = draft(InitOptions(str(tmp_path / "table.csv"), "y", time="at"))
    assert "outside the project" in "\n".join(report(found))
    monkeypatch.setattr(write, "ROOT", tmp_path)
    inside = made_of(orders(1, 2_000, "2023-01-01"), tmp_path, time="at")
    chosen = module(inside / "dataset.py").DATA
    assert chosen == "table.csv"
    assert "outside the project" not in "\n".join(report(found))


def test_a_decision_in_another_century_is_not_plausible(tmp_path: Path) -> None:
    folder = made_of(orders(1, 2_000, "2023-01-01"), tmp_path, time="at")
    column = Contract.load(folder / "problem.yaml").columns["at"]
    assert isinstance(column, TimestampColumn)
    assert column.max.year in (2043, 2044)


def test_values_that_differ_in_case_alone_are_said_and_a_gate_that_cannot_apply_too(tmp_path: Path) -> None:
    frame = orders(1, 2_000, "2023-01-01")
    frame["site"] = np.array(["Lyon", "LYON", "lyon", "Paris"])[np.arange(2_000) % 4]
    frame["plan"] = np.array(["basic", "plus"])[np.arange(2_000) % 2]
    frame["y"] = np.where(np.arange(2_000) % 50 == 0, "rare", np.where(frame["y"], "a", "b"))
    folder = made_of(frame, tmp_path, time="at", task="multiclass")
    told = "\n".join(report(draft(InitOptions(str(tmp_path / "table.csv"), "y", time="at"))))
    assert "site: 2 values if upper and lower case were the same" in told
    assert "plan: " not in told
    written = (folder / "problem.yaml").read_text(encoding="utf-8")
    assert re.search(
        r"The largest has about \d+ of the\n  # holdout's rows, so that the gate does not", written
    )
    common = frame.assign(y=frame["y"].replace("rare", "a"))
    few = made_of(common, tmp_path / "common", time="at")
    assert "so that the gate does not apply" not in (few / "problem.yaml").read_text(encoding="utf-8")


def local_times(*, aware: bool) -> pd.DataFrame:
    """Tickets of 14 months with local times; some are opened, and closed, in the hour that occurs twice."""
    frame = orders(1, 4_000, "2024-09-01")
    at = pd.Series(frame["at"].dt.tz_localize("UTC"))
    closed = at + pd.to_timedelta(np.arange(4_000) % 200, unit="h")
    twice = pd.to_datetime(["2024-10-27T00:30Z", "2024-10-27T01:30Z", "2025-03-30T01:30Z"])
    at[:3], closed[:3] = twice, twice
    local = {"at": at.dt.tz_convert("Europe/Paris"), "back": closed.dt.tz_convert("Europe/Paris")}
    written = {name: times if aware else times.dt.strftime("%d/%m/%Y %H:%M") for name, times in local.items()}
    return frame.assign(**written)


def test_local_times_keep_their_format_and_no_outcome_is_known_too_early(tmp_path: Path) -> None:
    folder = made_of(local_times(aware=False), tmp_path, time="at", known="back", zone="Europe/Paris")
    contract = Contract.load(folder / "problem.yaml")
    dataset = module(folder / "dataset.py")
    rows = dataset.load(contract).rows.sort_values("order_id", ignore_index=True)
    meant = local_times(aware=True)
    decided, known = (meant[name].map(pd.Timestamp.timestamp) for name in ("at", "back"))
    assert (rows["known_at"] >= known).all()
    assert (rows["known_at"] == known)[3:].mean() > 0.99
    assert (rows["decision_at"] <= decided).all()
    assert (rows["decision_at"] == decided)[3:].mean() > 0.99
    meant.head(50).to_parquet(tmp_path / "aware.parquet")  # as a warehouse writes them
    batch = dataset.read_batch(str(tmp_path / "aware.parquet"), contract)
    assert batch["at"].tolist() == decided.head(50).tolist()
    assert 'zone = "Europe/Paris"' in (folder / "features.py").read_text()


def test_the_zone_of_local_times_is_one_line_to_edit(tmp_path: Path) -> None:
    folder = made_of(local_times(aware=False), tmp_path, time="at", known="back")
    text = (folder / "dataset.py").read_text()
    assert text.count('"UTC"') == 1
    (folder / "dataset.py").write_text(text.replace('"UTC"', '"Europe/Paris"'))
    named = made_of(
        local_times(aware=False), tmp_path / "named", time="at", known="back", zone="Europe/Paris"
    )
    tables = [module(one / "dataset.py").load(Contract.load(one / "problem.yaml")) for one in (folder, named)]
    pd.testing.assert_frame_equal(tables[0].rows, tables[1].rows)
    with pytest.raises(
        UserError, match=r"ZONE=Europe/Pariss is no time zone: .* Did you mean Europe/Paris\?"
    ):
        made_of(local_times(aware=False), tmp_path, time="at", zone="Europe/Pariss")


@pytest.mark.parametrize("zone", ["Europe/Paris", "Europe/Dublin", "America/New_York"])
def test_of_a_time_that_occurs_twice_fold_says_which_is_meant(zone: str) -> None:
    utc = pd.Series(pd.date_range("2024-10-01", "2024-11-30", freq="30min", tz="UTC"))
    local = utc.dt.tz_convert(zone)
    seconds = utc.map(pd.Timestamp.timestamp)
    first, second = (timestamp(local.dt.tz_localize(None), zone=zone, fold=fold) for fold in (0, 1))
    assert (first <= seconds).all()
    assert (second >= seconds).all()
    assert ((second - first).unique() == [0, 3600]).all()
    assert timestamp(local, zone=zone).tolist() == seconds.tolist()
    texts = pd.Series(["2024-07-01 12:00", "2024-07-01T12:00Z", "2024-07-01T12:00+02", "9999-12-31", None])
    noon = pd.Timestamp("2024-07-01T12:00", tz="UTC").timestamp()
    assert timestamp(texts, zone="Europe/Paris").tolist()[:3] == [noon - 7200, noon, noon - 7200]
    assert timestamp(texts, zone="Europe/Paris").isna().tolist() == [False] * 4 + [True]


def test_times_without_seconds_or_separators_are_read(tmp_path: Path) -> None:
    frame = orders(1, 2_000, "2023-01-01")
    frame["at"] = frame["at"].dt.strftime("%Y%m%d%H%M")
    folder = made_of(frame, tmp_path, time="at")
    rows = module(folder / "dataset.py").load(Contract.load(folder / "problem.yaml")).rows
    assert rows["at"].iloc[0] == epoch(pd.Timestamp("2023-01-01", tz="UTC").to_pydatetime())


def test_a_row_of_totals_stretches_no_limit(tmp_path: Path) -> None:
    frame = orders(1, 2_000, "2023-01-01").astype({"at": "str"})
    frame["cost"] = np.random.default_rng(0).gamma(2, 100, 2_000).round(2)
    total = frame.tail(1).assign(at="Total", cost=frame["cost"].sum())
    written = []
    for untimed, rows in enumerate((frame, pd.concat([frame, total]))):
        rows.to_csv(tmp_path / "table.csv", index=False)
        found = draft(InitOptions(str(tmp_path / "table.csv"), "cost", "at"))
        assert found.untimed == untimed
        write_problem(found, tmp_path / "problem")
        written.append((tmp_path / "problem" / "problem.yaml").read_text())
    assert written[0] == written[1]


def test_what_is_left_out_renamed_or_derived_is_said_and_counted(tmp_path: Path) -> None:
    frame = orders(1, 2_000, "2023-01-01").drop(columns="order_id").astype({"y": "float64"})
    frame["Größe (cm)"] = np.random.default_rng(0).normal(170, 9, 2_000)
    frame["note"] = [f"the customer number {one} said: it was {'good' * (one % 7)}" for one in range(2_000)]
    frame.loc[frame.index[::10], "y"] = np.nan
    frame["at"] = frame["at"].astype("str").where(frame.index != 77, "?")
    frame = pd.concat([frame, frame.iloc[1:31]])
    frame.to_csv(tmp_path / "table.csv", index=False)
    asked = InitOptions(str(tmp_path / "table.csv"), "y", "at")
    found = draft(asked)
    told = "\n".join(report(found))
    assert "30 repeated rows left out: DUPLICATES=keep" in told
    assert "200 rows without a target left out" in told
    assert "1 row quarantined: no readable time in at" in told
    assert "note is free text: its length is a feature" in told
    assert "Names in the contract: 'Größe (cm)' is grosse_cm" in told
    write_problem(found, tmp_path / "problem")
    contract = Contract.load(tmp_path / "problem" / "problem.yaml")
    _, _, quarantine = EventTables.ingest(
        module(tmp_path / "problem" / "dataset.py").load(contract), contract, tmp_path / "out", ""
    )
    assert quarantine.quality == {
        "rows read": 2_030,
        "rows that repeat another one, left out": 30,
        "rows without a target, left out": 200,
        "outcomes known before the decision, counted as known at it": 0,
    }
    kept = draft(replace(asked, duplicates="keep"))
    assert len(kept.table) == 1_826
    write_problem(kept, tmp_path / "kept")
    assert len(module(tmp_path / "kept" / "dataset.py").load(contract).rows) == 1_826


def test_fields_that_stand_for_no_weather_are_missing(tmp_path: Path) -> None:
    random, frame = np.random.default_rng(0), orders(1, 2_000, "2023-01-01")
    frame["temperature"] = np.where(np.arange(2_000) % 40, random.normal(50, 9, 2_000).round(1), 9999.9)
    frame["rain"] = np.where(np.arange(2_000) % 3, random.gamma(1, 0.1, 2_000).round(2), 99.99)
    frame["ph"] = random.choice([99.1, 99.5, 99.9], 2_000)  # as a value may be
    folder = made_of(frame, tmp_path, time="at")
    rows = module(folder / "dataset.py").load(Contract.load(folder / "problem.yaml")).rows
    assert rows[["temperature", "rain", "ph"]].isna().sum().tolist() == [50, 667, 0]


@pytest.mark.parametrize("prices", [(4.99, 9.99, 19.99, 99.99), (5.9, 9.9, 49.9, 999.9), (7, 19.99, 99.99)])
def test_a_price_that_ends_as_others_do_is_a_value(prices: tuple[float, ...]) -> None:
    found = inspect_column(pd.Series([*prices] * 75, name="plan_price"), "plan_price")
    assert (found.sentinel, found.high) == (None, prices[-1])


def test_a_rare_age_of_999_is_missing() -> None:
    ages = np.where(np.arange(5_800) % 290, np.random.default_rng(0).integers(0, 98, 5_800), 999)
    found = inspect_column(pd.Series(ages, name="age"), "age")
    assert (found.sentinel, found.high) == (999, 97)


@pytest.mark.parametrize("share", [5, 10, 20])
def test_a_copy_of_the_target_that_is_mostly_blank_is_a_suspected_leak(share: int, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    y = random.integers(0, 2, 600)
    copy = np.where(y == 1, "left", "stays")
    frame = table(rows=600, y=y, reason=np.where(random.permutation(600) < 6 * share, copy, ""))
    frame["noise"] = np.where(random.permutation(600) < 6 * share, random.normal(size=600), np.nan)
    frame.to_csv(tmp_path / "table.csv", index=False)
    found = draft(InitOptions(str(tmp_path / "table.csv"), "y"))
    left_out = {column.header: column.left_out for column in found.left_out}
    assert list(left_out) == ["reason"]
    assert f"in the {share}% of the rows that have it" in left_out["reason"]


@pytest.mark.parametrize(
    ("share", "filled", "found"), [(0.3, 24, True), (0.3, 12, False), (0.95, 300, False)]
)
def test_a_column_that_only_few_rows_of_one_class_have_is_a_suspected_leak(
    share: float, filled: int, tmp_path: Path, *, found: bool
) -> None:
    """As of a reason that is seldom asked for; that a rare class has no value is no leak."""
    y = np.where(np.arange(2_000) < share * 2_000, "gone", "here")
    frame = table(rows=2_000, y=y, reason=np.where(np.arange(2_000) < filled, VALUES.mean().round(3), np.nan))
    frame["seldom"] = np.where(np.arange(2_000) % 70 == 0, 1.5, np.nan)  # of both classes
    frame.to_csv(tmp_path / "table.csv", index=False)
    left_out = {
        one.header: one.left_out for one in draft(InitOptions(str(tmp_path / "table.csv"), "y")).left_out
    }
    assert list(left_out) == ["reason"] * found
    if found:
        assert left_out["reason"].endswith("in 24 rows, all of which have the target 'gone'")


@pytest.mark.parametrize("days", [10, 70])
def test_readings_of_sensors_are_scored_on_other_days(days: int, tmp_path: Path) -> None:
    """The next minute's row is nearly the same: with it, a quick model would seem too good to be true."""
    random, rows = np.random.default_rng(0), days * 144

    def wander() -> Any:
        return np.convolve(random.normal(size=rows), np.exp(-np.arange(rows) / 288))[:rows].round(3)

    readings = pd.DataFrame({name: wander() for name in ("heat", "flow", "noise", "power")})
    at, state = pd.date_range("2024-01-01", periods=rows, freq="10min"), wander()
    readings.assign(at=at, fault=state > np.quantile(state, 0.8)).to_csv(tmp_path / "table.csv", index=False)
    assert draft(InitOptions(str(tmp_path / "table.csv"), "fault", "at")).quick.score < 0.9
    with pytest.raises(UserError, match="Too good to be true"):
        draft(InitOptions(str(tmp_path / "table.csv"), "fault", leave_out=("at",)))


def test_the_positive_class_is_yes_in_other_languages_too(tmp_path: Path) -> None:
    for yes, no in (("Ja", "Nein"), ("WAHR", "FALSCH"), ("Oui", "Non"), ("Sí", "No"), ("Sì", "No")):
        path = tmp_path / f"{yes}.csv"
        table(y=np.where(np.arange(300) % 3 > 0, yes, no)).to_csv(path, index=False)
        assert draft(InitOptions(str(path), "y")).target.classes == (no, yes)


def test_with_few_rows_of_a_class_that_is_what_no_gate_can_tell_by(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    fraud = np.arange(20_000) % 400 == 0
    frame = pd.DataFrame({"amount": random.normal(size=20_000) + 3 * fraud, "v": random.normal(size=20_000)})
    frame.assign(fraud=fraud).to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(UserError, match="With 50 rows of the rarest class, no gate can tell"):
        draft(InitOptions(str(tmp_path / "table.csv"), "fraud"))


def test_what_stands_for_no_number_is_named(tmp_path: Path) -> None:
    random, frame = np.random.default_rng(0), orders(1, 2_000, "2023-01-01")
    frame["built"] = random.integers(1980, 2020, 2_000).astype(str)
    for place, word in enumerate(("unbekannt", "k. A.", "not known")):
        frame.loc[frame.index[place::40], "built"] = word
    frame["km"] = random.integers(0, 60, 2_000)
    frame.loc[frame.index[7], "km"] = 9999
    frame["far"] = random.integers(0, 60, 2_000)
    frame.loc[frame.index[7], "far"] = 99  # as a value may be
    frame.to_csv(tmp_path / "table.csv", index=False)
    told = "\n".join(report(draft(InitOptions(str(tmp_path / "table.csv"), "y", "at"))))
    assert "built: numbers except for 'unbekannt', 'k. A.', 'not known', which make it 43 categories" in told
    assert "km: 9999 is far from all other values and is read as missing" in told
    assert "far: 99" not in told


@pytest.mark.parametrize("decimal", [".", ","])
def test_what_stands_for_no_number_is_read_as_missing_and_widens_no_limit(
    tmp_path: Path, decimal: str
) -> None:
    random, frame = np.random.default_rng(0), orders(1, 2_000, "2023-01-01")
    frame["km"] = random.integers(0, 600, 2_000) / 10
    frame.loc[frame.index[::50], "km"] = 9999
    frame.to_csv(tmp_path / "table.csv", index=False, decimal=decimal, sep=";")
    write_problem(draft(InitOptions(str(tmp_path / "table.csv"), "y", "at")), tmp_path)
    contract = Contract.load(tmp_path / "problem.yaml")
    column = contract.columns["km"]
    assert isinstance(column, NumberColumn)
    assert (column.nullable, column.max < 1000) == (True, True)
    rows = module(tmp_path / "dataset.py").load(contract).rows
    assert (rows["km"].isna().sum(), rows["km"].max() < 60) == (40, True)


@pytest.mark.parametrize(
    ("header", "value", "currency"),
    [
        ("amount", "{:.2f} €", "EUR"),
        ("amount (CHF)", "{:.2f}", "CHF"),
        ("amount", "£{:.2f}", "GBP"),
        ("amount", "{:.2f}", "USD"),
    ],
)
def test_the_currency_of_the_table_is_that_of_the_costs(
    tmp_path: Path, header: str, value: str, currency: str
) -> None:
    frame = orders(1, 2_000, "2023-01-01")
    frame[header] = [value.format(one) for one in np.random.default_rng(0).gamma(2, 90, 2_000)]
    frame.to_csv(tmp_path / "table.csv", index=False)
    words = {"DATA": str(tmp_path / "table.csv"), "TARGET": header, "TIME": "at", "LEAVE_OUT": "y"}
    write_problem(draft(options_of(words)), tmp_path)
    contract = Contract.load(tmp_path / "problem.yaml")
    assert isinstance(contract, RegressionContract)
    assert contract.costs.currency == currency
    assert contract.label.unit == ("units" if header == "amount" and value == "{:.2f}" else currency)


@pytest.mark.parametrize("words", ["plan, price", "plan price", "plan,price", " Plan  PRICE "])
def test_options_of_several_columns_take_commas_or_spaces(words: str, tmp_path: Path) -> None:
    frame = table(y=OUTCOME, plan=VALUES, price=VALUES[::-1]).assign(**{"net price": VALUES * 2})
    frame.to_csv(tmp_path / "table.csv", index=False)
    asked = {"DATA": str(tmp_path / "table.csv"), "TARGET": "y", "LEAVE_OUT": words}
    left = [one.header for one in draft(options_of(asked)).left_out]
    assert left == ["plan", "price"]
    spaced = draft(options_of(asked | {"LEAVE_OUT": "net price"}))
    assert [one.header for one in spaced.left_out] == ["net price"]


@pytest.mark.parametrize("folder", ["csv", "parquet"])
def test_a_project_made_from_a_folder_scores_files_of_the_other_kind(folder: str, tmp_path: Path) -> None:
    frame = orders(1, 2_000, "2023-01-01")
    months = tmp_path / "months"
    months.mkdir()
    for place, part in enumerate((frame.head(900), frame.tail(1_100))):
        if folder == "csv":
            part.to_csv(months / f"{place}.csv", index=False, sep=";", encoding="cp1252")
        else:
            part.to_parquet(months / f"{place}.parquet")
    write_problem(draft(InitOptions(str(months), "y", time="at")), tmp_path / "problem")
    contract = Contract.load(tmp_path / "problem" / "problem.yaml")
    dataset = module(tmp_path / "problem" / "dataset.py")
    frame.head(5).to_parquet(tmp_path / "five.parquet")
    frame.head(5).to_csv(tmp_path / "five.csv", index=False, sep=";" if folder == "csv" else ",")
    rows = [dataset.read_batch(str(tmp_path / f"five.{kind}"), contract) for kind in ("parquet", "csv")]
    pd.testing.assert_frame_equal(*rows)
    assert len(rows[0]) == 5


def test_a_column_that_is_not_there_any_more_is_named(tmp_path: Path) -> None:
    folder = made_of(orders(1, 2_000, "2023-01-01"), tmp_path, time="at")
    pd.read_csv(tmp_path / "table.csv").drop(columns="visits").to_csv(tmp_path / "less.csv", index=False)
    with pytest.raises(UserError, match=r"less\.csv has no column visits\. Add it"):
        module(folder / "dataset.py").read_batch(
            str(tmp_path / "less.csv"), Contract.load(folder / "problem.yaml")
        )


def test_a_column_that_problem_yaml_misspells_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    folder = made_of(orders(1, 2_000, "2023-01-01"), tmp_path, time="at")
    text = (folder / "problem.yaml").read_text(encoding="utf-8")
    (folder / "problem.yaml").write_text(text.replace("  visits:", "  vistis:"), encoding="utf-8")
    with pytest.raises(UserError, match=r"dataset\.py: rows has no column vistis\. Did you mean visits\?"):
        module(folder / "dataset.py").load(Contract.load(folder / "problem.yaml"))


def test_codes_keep_the_zeros_before_their_digits(tmp_path: Path) -> None:
    """00123 and 123 are two order numbers, and a postal code is no quantity; a time of day is."""
    frame = orders(1, 2_000, "2023-01-01")
    frame["order_id"] = [f"{one:07}" for one in frame["order_id"]]
    frame["customer"] = [f"{one:03}" for one in frame["customer"]]
    frame["plz"] = [f"{one % 90_000:05}" for one in np.arange(2_000) % 150 * 601]
    frame["opens"] = [f"{one % 24:02}{one % 60:02}" for one in range(2_000)]
    folder = made_of(frame, tmp_path, time="at", keys=("customer",))
    contract = Contract.load(folder / "problem.yaml")
    kinds = {name: column.type for name, column in contract.columns.items()}
    assert (kinds["order_id"], kinds["plz"], kinds["opens"]) == ("category", "category", "integer")
    dataset = module(folder / "dataset.py")
    for rows in (dataset.load(contract).rows, dataset.read_batch(str(tmp_path / "table.csv"), contract)):
        assert rows["order_id"].iloc[0] == "0000001"
        assert rows["customer"].str.len().eq(3).all()
        assert rows["plz"].str.len().eq(5).all()


def test_points_separate_thousands_where_other_columns_have_decimal_commas(tmp_path: Path) -> None:
    """Which pandas would read as 2.395, and the currency of another column is that of the costs."""
    found = draft(options_of(odd_tables.sap_list(tmp_path)))
    assert (found.profiles["Menge"].kind, found.currency) == ("integer", "EUR")
    assert 1_000 < found.profiles["Menge"].high < 4_000
    assert "Eilt" in [one.header for one in found.features]  # X or empty, which is not constant
    amounts = table(y=[f"{one:,}".replace(",", ".") for one in range(900, 1_200)], price=["1.234,5"] * 300)
    amounts.to_csv(tmp_path / "amounts.csv", index=False, sep=";")
    assert draft(InitOptions(str(tmp_path / "amounts.csv"), "y")).target.high == 1_199


def test_a_table_with_the_names_of_the_contract_can_be_scored_whatever_the_headers_are(
    tmp_path: Path,
) -> None:
    """Also where the table's own columns are called as those that are made for it."""
    own: dict[str, Any] = {
        "row_number": VALUES * 9,
        "decided_at": VALUES * 7,
        "Größe": VALUES * 3,
        "grosse": VALUES[::-1],
    }
    folder = made_of(table(y=OUTCOME, **own), tmp_path)
    contract, dataset = Contract.load(folder / "problem.yaml"), module(folder / "dataset.py")
    assert {"row_number", "row_number_2", "decided_at", "decided_at_2", "grosse", "grosse_2"} <= set(
        contract.columns
    )
    rows = dataset.load(contract).rows
    rows["decided_at_2"] = pd.to_datetime(rows["decided_at_2"], unit="s", utc=True)
    rows[list(contract.columns)].to_parquet(tmp_path / "rows.parquet")
    batch = dataset.read_batch(str(tmp_path / "rows.parquet"), contract)
    names = ["row_number", "decided_at", "grosse", "grosse_2"]
    pd.testing.assert_frame_equal(batch[names], rows[names])
    assert batch["row_number_2"].tolist() == rows["row_number_2"].tolist()


def test_codes_with_few_values_are_no_times_of_day() -> None:
    plants = pd.Series(["0300", "1000", "1100", "2000"] * 50, name="plant")
    assert inspect_column(plants, "plant").kind == "category"


def test_the_euro_of_an_older_encoding_is_a_currency_too(tmp_path: Path) -> None:
    frame = table(y=OUTCOME, price=[f"{one:,.2f} €".replace(".", ";") for one in VALUES * 1_000])
    frame["price"] = frame["price"].str.replace(",", ".").str.replace(";", ",")
    frame.to_csv(tmp_path / "table.csv", index=False, sep=";", encoding="iso8859-15")
    found = draft(InitOptions(str(tmp_path / "table.csv"), "y")).profiles["price"]
    assert (found.kind, found.decimal, found.unreadable) == ("number", ",", 0)


def test_numbers_with_a_unit_are_no_prose() -> None:
    found = inspect_column(pd.Series([f"{one / 10:.1f} kg" for one in range(900)], name="weight"), "weight")
    assert (found.kind, found.measured) == ("category", True)


def test_headers_and_classes_with_line_breaks_stay_within_their_comments(tmp_path: Path) -> None:
    """As a spreadsheet's headers have them."""
    at = pd.Series(pd.date_range("2023-01-01", periods=300, freq="9h"))
    own: dict[str, Any] = {"sold\nat": at, "paid\nat": at + pd.Timedelta(days=2), "price\n- net": VALUES}
    own |= {"year\n(tax)": 2023, "back\n(y/n)": np.where(OUTCOME == 1, "yes:\nall", "no")}
    frame = table(**own)
    frame.to_csv(tmp_path / "table.csv", index=False)
    options = InitOptions(str(tmp_path / "table.csv"), "back\n(y/n)", "sold\nat", known="paid\nat")
    write_problem(draft(options), tmp_path / "problem")
    contract = Contract.load(tmp_path / "problem" / "problem.yaml")
    assert {"price_net", "sold_at"} <= set(contract.columns)
    assert contract.columns["price_net"].about == "price\n- net"
    assert len(module(tmp_path / "problem" / "dataset.py").load(contract).rows) == 300


def test_blank_fields_are_missing_and_not_unreadable(tmp_path: Path) -> None:
    """As the total of customers who have just signed a contract."""
    totals = [" " if one % 20 == 0 else f"{one / 7:.2f}" for one in range(300)]
    table(y=OUTCOME, total=totals).to_csv(tmp_path / "table.csv", index=False)
    found = draft(InitOptions(str(tmp_path / "table.csv"), "y"))
    assert (round(found.profiles["total"].missing, 9), found.profiles["total"].unreadable) == (0.05, 0)


def test_a_column_that_is_hardly_ever_filled_is_no_slice(tmp_path: Path) -> None:
    """Its levels are as frequent as each other, and each is too small to be evaluated."""
    rare = np.where(np.arange(300) % 30 == 0, "gravel", np.where(np.arange(300) % 30 == 1, "paved", ""))
    frame = table(y=OUTCOME, alley=rare, zone=np.array(["low", "mid", "mid"])[np.arange(300) % 3])
    frame.to_csv(tmp_path / "table.csv", index=False)
    write_problem(draft(InitOptions(str(tmp_path / "table.csv"), "y")), tmp_path)
    assert Contract.load(tmp_path / "problem.yaml").slices == ("b", "zone")


def test_rows_that_are_the_same_by_chance_stay(tmp_path: Path) -> None:
    """As of a table of two columns and 150 rows, of which a third would go."""
    random = np.random.default_rng(7)
    size = random.normal(170, 10, 150).round()
    frame = pd.DataFrame({"size": size, "sex": random.choice(["m", "w"], 150)})
    frame.assign(y=size + random.normal(0, 8, 150) > 172).to_csv(tmp_path / "table.csv", index=False)
    found = draft(InitOptions(str(tmp_path / "table.csv"), "y"))
    assert len(found.table) == 150
    assert "repeated rows kept: with few columns, equal rows occur by chance" in "\n".join(report(found))


def test_counts_of_seconds_among_texts_are_no_days_of_other_centuries(tmp_path: Path) -> None:
    seconds = pd.date_range("2024-01-01", periods=300, freq="9h").as_unit("s").astype("int64")
    frame = table(y=OUTCOME, at=["later", *map(str, seconds[1:])])
    frame.to_csv(tmp_path / "table.csv", index=False)
    found = draft(InitOptions(str(tmp_path / "table.csv"), "y", "at"))
    assert found.decided is not None
    assert found.decided.tolist() == seconds[1:].tolist()


def test_numbers_as_large_as_they_can_be_have_bounds(tmp_path: Path) -> None:
    frame = table(y=OUTCOME, large=np.where(OUTCOME[::-1] == 1, 1e308, -1e308))
    contract = Contract.load(made_of(frame, tmp_path) / "problem.yaml")
    rows = module(tmp_path / "problem" / "dataset.py").load(contract)
    kept, *_ = EventTables.ingest(rows, contract, tmp_path / "out", "")
    assert len(kept) == 300


def test_quotes_that_a_backslash_escapes_are_within_their_field(tmp_path: Path) -> None:
    """As some databases export them."""
    lines = [f'{one},"say \\"hi\\", {one}",{one % 2}' for one in range(300)]
    (tmp_path / "table.csv").write_text("\n".join(["a,note,y", *lines]))
    found = table_of(str(tmp_path / "table.csv"))
    assert found["note"].iloc[7] == 'say "hi", 7'
    assert found["y"].nunique() == 2


def test_the_name_of_a_table_stays_within_a_comment(tmp_path: Path) -> None:
    """Whatever it is: quotes would end a docstring, and a line break a comment."""
    name = '"""\nraise SystemExit\n"""\x07.csv'
    table(y=OUTCOME).to_csv(tmp_path / name, index=False)
    write_problem(draft(InitOptions(str(tmp_path / name), "y")), tmp_path / "problem")
    contract = Contract.load(tmp_path / "problem" / "problem.yaml")
    assert len(module(tmp_path / "problem" / "dataset.py").load(contract).rows) == 300


@pytest.mark.parametrize("index", [np.arange(300) // 2, np.arange(-300, 0), np.arange(300) * 2])
def test_rows_of_a_parquet_file_are_numbered_whatever_its_index(index: Any, tmp_path: Path) -> None:
    frame = table(y=OUTCOME).set_axis(index)
    assert len(Sample.of(frame, find_target(frame, "y")).rows) == 300
    frame.to_parquet(tmp_path / "table.parquet")
    write_problem(draft(InitOptions(str(tmp_path / "table.parquet"), "y")), tmp_path / "problem")
    contract = Contract.load(tmp_path / "problem" / "problem.yaml")
    rows = module(tmp_path / "problem" / "dataset.py").load(contract).rows
    assert sorted(rows["row_number"]) == list(range(300))


def test_names_in_the_index_of_a_parquet_file_identify_the_rows(tmp_path: Path) -> None:
    table(y=OUTCOME).set_axis([f"c{one:03}" for one in range(300)]).to_parquet(tmp_path / "table.parquet")
    write_problem(draft(InitOptions(str(tmp_path / "table.parquet"), "y")), tmp_path / "problem")
    contract = Contract.load(tmp_path / "problem" / "problem.yaml")
    assert contract.identity == ("index",)
    tables = module(tmp_path / "problem" / "dataset.py").load(contract)
    kept, *_ = EventTables.ingest(tables, contract, tmp_path / "out", "")
    assert len(kept) == 300


def late(rows: int, days: np.ndarray[Any, Any]) -> pd.DataFrame:
    """Orders whose outcomes become known some days later."""
    frame = orders(1, rows, "2023-01-01")
    return frame.assign(closed=frame["at"] + pd.to_timedelta(days, unit="D"))


def test_a_time_of_the_outcome_that_is_known_before_can_be_kept(tmp_path: Path) -> None:
    """As of an appointment: the time is agreed at the decision."""
    frame = late(2_000, np.random.default_rng(3).integers(1, 30, 2_000))
    folder = made_of(frame, tmp_path, time="at", known="closed", keep=("closed",))
    contract = Contract.load(folder / "problem.yaml")
    assert "closed" in contract.columns
    assert "closed" in contract.suspected_leaks
    rows = module(folder / "dataset.py").load(contract).rows
    assert (rows["known_at"] == rows["closed"]).all()


@pytest.mark.parametrize("keep", [(), ("closed",)])
def test_outcomes_that_are_known_before_the_decision_are_counted(
    keep: tuple[str, ...], tmp_path: Path
) -> None:
    frame = late(2_000, np.where(np.arange(2_000) % 100, 3, -3))
    folder = made_of(frame, tmp_path, time="at", known="closed", keep=keep)
    tables = module(folder / "dataset.py").load(Contract.load(folder / "problem.yaml"))
    assert tables.quality["outcomes known before the decision, counted as known at it"] == 20
    found = draft(InitOptions(str(tmp_path / "table.csv"), "y", "at", known="closed", keep=keep))
    lines = "\n".join(report(found))
    assert "20 outcomes were known before the decision, by closed before at" in lines
    assert ("`at <= closed`" in lines) == bool(keep)


def test_the_rows_of_the_holdout_are_those_whose_outcomes_are_known(tmp_path: Path) -> None:
    folder = made_of(late(4_000, np.full(4_000, 15)), tmp_path, time="at", known="closed")
    contract = Contract.load(folder / "problem.yaml")
    rows = module(folder / "dataset.py").load(contract).rows
    as_of = contract.split.test_end_at - (contract.split.test_end - contract.split.test_start).days * DAY
    start = as_of - contract.split.holdout_days * DAY
    learnable = int(((rows["decision_at"] >= start) & (rows["known_at"] < as_of)).sum())
    text = (folder / "problem.yaml").read_text(encoding="utf-8")
    assert f"sampling error of {learnable} rows in the holdout window" in text
    assert learnable < (rows["decision_at"].between(start, as_of - 1)).sum()


def test_labels_that_are_too_late_for_a_period_are_announced_as_in_the_contract(tmp_path: Path) -> None:
    frame = late(2_000, np.where(np.arange(2_000) % 10 < 3, 40, 0.5))
    frame.to_csv(tmp_path / "table.csv", index=False)
    found = draft(InitOptions(str(tmp_path / "table.csv"), "y", "at", known="closed"))
    assert 0.5 < found.known_share < 0.9
    assert "Outcomes come late: by closed, only " in "\n".join(report(found))


def test_entities_that_differ_in_letter_case_are_named(tmp_path: Path) -> None:
    frame = orders(1, 2_000, "2023-01-01")
    frame["shop"] = [("north", "North", "south", "West")[one % 4] for one in range(2_000)]
    frame.to_csv(tmp_path / "table.csv", index=False)
    found = draft(InitOptions(str(tmp_path / "table.csv"), "y", "at", keys=("shop",)))
    assert "shop: 3 values if upper and lower case were the same" in "\n".join(report(found))


def test_numbers_that_no_model_computes_with_are_left_out(tmp_path: Path) -> None:
    """Their squares overflow, and a linear model would get NaN."""
    found = draft(options_of(odd_tables.empty_columns(tmp_path)))
    reasons = {column.header: column.left_out for column in found.left_out}
    assert reasons["huge"].endswith("e+300, too large to compute with")
    assert "tiny" not in reasons
