from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from fivestage.common.errors import UserError
from fivestage.contract.contract import Column, ColumnRule
from fivestage.data.event_tables import Quarantine, QuarantineReport
from fivestage.data.validation import Validated, validate, write_quarantine

COLUMNS: dict[str, Column] = TypeAdapter(dict[str, Column]).validate_python(
    {
        "shop": {"type": "category", "about": "a", "values": ["north", "south"], "example": "north"},
        "code": {"type": "category", "about": "a", "max_length": 3, "nullable": True, "example": "abc"},
        "count": {"type": "integer", "about": "a", "min": 1, "max": 9, "example": 2},
        "weight": {"type": "number", "about": "a", "min": 0, "max": 1, "nullable": True, "example": 0.5},
        "at": {
            "type": "timestamp",
            "about": "a",
            "min": "2020-01-01T00:00:00Z",
            "max": "2030-01-01T00:00:00Z",
            "example": "2021-01-01T00:00:00Z",
        },
    },
    strict=False,
)
AT = 1_600_000_000
GOOD: dict[str, Any] = {"shop": "north", "code": "abc", "count": 2, "weight": 0.5, "at": AT}


def check(*rows: dict[str, Any], carried: tuple[str, ...] = ()) -> Validated:
    frame = pd.DataFrame([GOOD | {"at": AT + place} | row for place, row in enumerate(rows)])
    return validate(frame, COLUMNS, ["shop", "at"], "table", carried)


def test_good_rows_stay_as_they_are() -> None:
    result = check({}, {"weight": np.nan, "code": None}, {"weight": 1.0, "count": 9})
    assert len(result.good) == 3
    assert result.quarantined.empty
    assert result.failures.empty
    assert {name: str(dtype) for name, dtype in result.good.dtypes.items()} == {
        "shop": "str",
        "code": "str",
        "count": "int64",
        "weight": "float64",
        "at": "int64",
    }
    assert result.good["code"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("column", "value", "check_failed"),
    [
        ("shop", "west", "not one of north, south"),
        ("shop", None, "missing"),
        ("shop", 7, "not a text"),
        ("code", "long", "not 1 to 3 characters"),
        ("code", "", "not 1 to 3 characters"),
        ("count", 10, "outside 1 to 9"),
        ("count", 1.5, "not a whole number"),
        ("count", "many", "not a number"),
        ("count", np.nan, "missing"),
        ("weight", -0.1, "outside 0 to 1"),
        ("weight", np.inf, "outside 0 to 1"),
        ("weight", "heavy", "not a number"),
        ("at", 5, "outside 2020-01-01T00:00:00Z to 2030-01-01T00:00:00Z"),
        ("at", "2021-01-01", "not a time in ISO 8601 with a zone, nor in epoch seconds"),
    ],
)
def test_a_bad_value_is_named_and_only_its_row_put_aside(column: str, value: Any, check_failed: str) -> None:
    result = check({}, {column: value}, {})
    assert result.good["at"].tolist() == [AT, AT + 2]
    text = "" if pd.isna(value) else "1970-01-01T00:00:05Z" if column == "at" and value == 5 else str(value)
    assert result.failures.to_dict("records") == [
        {"row": 1, "column": column, "value": text, "check": check_failed}
    ]
    assert result.quarantined["row"].tolist() == [1]
    assert result.quarantined["reason"].tolist() == [f"{column} {text}".rstrip() + f": {check_failed}"]


def test_all_that_is_wrong_with_a_row_is_told() -> None:
    result = check({"shop": "west", "count": 11.5, "weight": 2}, {})
    (row,) = result.quarantined.to_dict("records")
    assert row["reason"].split("; ") == [
        "shop west: not one of north, south",
        "count 11.5: outside 1 to 9",
        "count 11.5: not a whole number",
        "weight 2.0: outside 0 to 1",
    ]
    assert result.failures["row"].tolist() == [0] * 4
    assert row["weight"] == 2


def test_of_rows_with_one_identity_the_first_good_one_stays() -> None:
    same = {"at": AT}
    result = check({"count": 99, **same}, {"count": 3, **same}, {"count": 4, **same}, {})
    assert result.good["count"].tolist() == [3, 2]
    assert result.quarantined["row"].tolist() == [0, 2]
    assert (
        result.quarantined["reason"].iloc[1] == "shop at north 2020-09-13T12:26:40Z: the same identity twice"
    )


def test_times_in_quarantine_are_what_a_person_reads() -> None:
    bad = check({"count": 0, "known_at": AT + 3_600}, {"at": "soon"}, carried=("known_at",)).quarantined
    assert bad["at"].tolist() == ["2020-09-13T12:26:40Z", "soon"]
    assert bad["known_at"].iloc[0] == "2020-09-13T13:26:40Z"


def test_positions_are_those_of_the_frame_whatever_its_index() -> None:
    frame = pd.DataFrame([GOOD | {"at": AT + place} for place in range(3)], index=[7, 7, 3])
    frame["count"] = [1, 0, 2]
    result = validate(frame, COLUMNS, ["at"], "table")
    assert result.quarantined["row"].tolist() == [1]
    assert result.good["at"].tolist() == [AT, AT + 2]


def test_carried_columns_come_along_unexamined() -> None:
    result = check({"label": 1}, {"label": 5, "count": 0}, {"label": 0}, carried=("label",))
    assert result.good["label"].tolist() == [1, 0]
    assert result.quarantined["label"].tolist() == [5]


def test_no_rows_are_no_failure() -> None:
    result = validate(pd.DataFrame([GOOD]).iloc[:0], COLUMNS, ["at"], "table")
    assert result.good.empty
    assert result.failures.empty
    assert list(result.good) == list(COLUMNS)


def test_columns_that_are_missing_or_unknown() -> None:
    frame = pd.DataFrame([GOOD])
    with pytest.raises(UserError, match=r"table has no column count\."):
        validate(frame.drop(columns="count"), COLUMNS, ["at"], "table")
    misspelt = frame.rename(columns={"count": "counts"})
    with pytest.raises(UserError, match=r"table has no column count\. Did you mean counts\? Add it"):
        validate(misspelt, COLUMNS, ["at"], "table")
    with pytest.raises(UserError, match=r"table has a column that is not in problem\.yaml: colour"):
        validate(frame.assign(colour="red"), COLUMNS, ["at"], "table")


values = st.one_of(
    st.none(), st.sampled_from(["north", "south", "abc", "", "abcd"]), st.integers(-2, 12), st.floats(-1, 10)
)


@settings(deadline=None, max_examples=20)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "shop": values,
                "code": values,
                "count": values,
                "weight": values,
                "at": st.integers(AT, AT + 3) | values,
            },
        ),
        min_size=1,
        max_size=12,
    )
)
def test_no_row_is_lost_and_good_rows_are_good(rows: list[dict[str, Any]]) -> None:
    result = check(*rows)
    assert len(result.good) + len(result.quarantined) == len(rows)
    assert set(result.quarantined["row"]) == set(result.failures["row"])
    good = result.good
    assert good["shop"].isin(["north", "south"]).all()
    assert good["code"].dropna().str.len().between(1, 3).all()
    assert good["count"].between(1, 9).all()
    assert good["weight"].dropna().between(0, 1).all()
    assert good["at"].between(AT - 10**8, AT + 10**9).all()
    assert not result.good.duplicated(["shop", "at"]).any()
    again = validate(result.good, COLUMNS, ["shop", "at"], "table")
    pd.testing.assert_frame_equal(again.good, result.good)


def test_the_most_frequent_reason_comes_first() -> None:
    result = check({"shop": "west"}, {"count": 0}, {"count": 12})
    assert list(result.reasons().items()) == [
        ("count outside 1 to 9", 2),
        ("shop not one of north, south", 1),
    ]


def test_the_quarantine_is_written_whole_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "quarantine" / "rows.csv"
    write_quarantine(check({"count": "many, too many"}, {}).quarantined, path)
    written = pd.read_csv(path)
    assert written["row"].tolist() == [0]
    assert written["count"].tolist() == ["many, too many"]
    write_quarantine(check({}).quarantined, path)
    assert pd.read_csv(path).empty
    assert [file.name for file in path.parent.iterdir()] == ["rows.csv"]


def test_a_write_that_fails_leaves_the_old_quarantine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("old", encoding="utf-8")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(UserError, match=r"rows.csv cannot be written: No space left on device\."):
        write_quarantine(check({}).quarantined, path)
    assert path.read_text(encoding="utf-8") == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_quarantine(check({}).quarantined, tmp_path / "file" / "rows.csv")


def test_a_large_share_in_quarantine_stops_the_work(tmp_path: Path) -> None:
    quarantine, rows = Quarantine(tmp_path), pd.DataFrame()
    quarantine.add({"rows": QuarantineReport(rows, 10, 1000, {})})
    quarantine.check()
    quarantine.add({"rows": QuarantineReport(rows, 12, 1000, {})})
    with pytest.raises(UserError, match=r"rows: 22 of 2,000 rows \(1\.1%\) are in quarantine, more than 1%"):
        quarantine.check()


def test_times_may_be_iso_8601_texts_with_a_zone() -> None:
    """As in a file to score; the columns of a database have a type of their own."""
    texts = ["2021-01-01T02:00:00+02:00", "2021-01-01 00:00:05Z", "2021-01-01T00:00:00"]
    frame = pd.DataFrame([GOOD] * 3).assign(at=texts)
    result = validate(frame, COLUMNS, ["at"], "table")
    assert result.good["at"].tolist() == [1_609_459_200, 1_609_459_205]
    assert result.failures["value"].tolist() == ["2021-01-01T00:00:00"]
    typed = pd.DataFrame([GOOD] * 2).assign(at=pd.to_datetime([*texts[:1], "2019-01-01T00:00:00Z"], utc=True))
    result = validate(typed, COLUMNS, ["at"], "table")
    assert result.good["at"].tolist() == [1_609_459_200]
    assert result.failures["value"].tolist() == ["2019-01-01T00:00:00Z"]


def test_a_rule_between_two_columns_quarantines_rows_that_break_it() -> None:
    rules = [ColumnRule.model_validate("weight <= count"), ColumnRule.model_validate("weight != count")]
    rows = [GOOD | {"at": AT + place} | row for place, row in enumerate([{}, {"weight": 1.0, "count": 1}])]
    frame = pd.DataFrame([*rows, GOOD | {"at": AT + 2, "weight": np.nan}])
    result = validate(frame, COLUMNS, ["shop", "at"], "table", rules=rules)
    assert result.good["at"].tolist() == [AT, AT + 2]  # what is not there breaks no rule
    assert result.failures.to_dict("records") == [
        {"row": 1, "column": "weight", "value": "1.0", "check": "breaks the rule weight != count"}
    ]


def test_keys_that_are_whole_numbers_have_one_form() -> None:
    key = {"type": "category", "about": "a", "form": "integer", "nullable": True, "example": "18"}
    columns = {"at": COLUMNS["at"], "id": TypeAdapter(Column).validate_python(key)}
    written = pd.DataFrame({"id": ["18", "18.0", " 018 ", "+18", "-7", "A18", None, "18.5"]})
    found = validate(written.assign(at=AT + written.index), columns, ["at"], "table")
    assert found.good["id"].fillna("").tolist() == ["18", "18", "18", "18", "-7", ""]
    assert found.failures[["value", "check"]].to_numpy().tolist() == [
        ["A18", "not a whole number"],
        ["18.5", "not a whole number"],
    ]
