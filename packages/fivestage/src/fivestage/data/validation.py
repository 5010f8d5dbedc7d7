"""Validate tables against the contract, and quarantine the rows that violate it.

Plain pandas is shorter than converting pandera's failure cases, and takes half of the time.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fivestage.common.errors import UserError, require_columns
from fivestage.common.files import write_whole
from fivestage.contract.contract import CategoryColumn, Column, ColumnRule, TimestampColumn, epoch, iso

TIME_COLUMNS = ("decision_at", "known_at")  # further columns of rows, in epoch seconds
ZONED = r"(?:Z|[+-]\d\d:?\d\d)$"  # the time zone at the end of an ISO 8601 text


@dataclass(frozen=True)
class Validated:
    """A table split into valid and quarantined rows.

    Args:
        good: valid rows, as texts, int64 (whole numbers, epoch seconds) and float64.
        quarantined: the other rows unchanged, but with times in ISO 8601; the first columns are their
            position `row` and the `reason`, which lists all failures.
        failures: one line per failed check: `row`, `column`, `value`, `check`.
    """

    good: pd.DataFrame
    quarantined: pd.DataFrame
    failures: pd.DataFrame

    def reasons(self) -> dict[str, int]:
        """Number of rows that fail each check, most frequent first."""
        checks = self.failures["column"] + " " + self.failures["check"]
        return {str(check): int(rows) for check, rows in checks.value_counts().items()}


def validate(
    frame: pd.DataFrame,
    columns: Mapping[str, Column],
    identity: Sequence[str],
    source: str,
    carried: Collection[str] = (),
    rules: Sequence[ColumnRule] = (),
) -> Validated:
    """Split a table into valid rows and rows that violate the contract; every check runs on every row.

    Args:
        frame: the rows to validate; times are epoch seconds, or ISO 8601 texts with a time zone.
        columns: the contract's columns.
        identity: columns that identify a row; of valid rows with the same values, the first is kept. Without
            such columns, all are kept.
        source: the table's name in messages.
        carried: further columns, which are kept without checks.
        rules: constraints between two columns.

    Raises:
        UserError: when a column is missing, or not in the contract.
    """
    _match_columns(frame.columns, columns, carried, source)
    given = frame.reset_index(drop=True)
    by_name = {name: _typed(given[name], column) for name, column in columns.items()}
    typed = pd.DataFrame(by_name)
    failed: list[tuple[tuple[str, ...], str, pd.Series]] = [  # columns, check, and whether each row fails it
        *(
            ((name,), check, rows)
            for name, column in columns.items()
            for check, rows in _checks(given[name], typed[name], column)
        ),
        *(((rule.left,), f"breaks the rule {rule}", ~rule.holds(by_name)) for rule in rules),
    ]
    found = [(names, check, given.index[rows]) for names, check, rows in failed if rows.any()]
    if identity:
        valid = typed.drop(index=_union(rows for _, _, rows in found))
        found.append((tuple(identity), "the same identity twice", valid.index[valid.duplicated([*identity])]))
    lost = _union(rows for _, _, rows in found)
    quarantined = given.loc[lost]
    for name, column in columns.items():
        if isinstance(column, TimestampColumn):
            quarantined[name] = _as_iso(typed.loc[lost, name], quarantined[name])
    failures = _failures(found, quarantined)
    for name in set(carried) & set(TIME_COLUMNS):
        quarantined[name] = _as_iso(quarantined[name], quarantined[name])
    texts = (failures["column"] + " " + failures["value"]).str.rstrip() + ": " + failures["check"]
    quarantined.insert(0, "row", lost)
    quarantined.insert(1, "reason", texts.groupby(failures["row"]).agg("; ".join))
    good = typed.drop(index=lost).astype({name: _dtype(column) for name, column in columns.items()})
    good = good.join(given[list(carried)])
    return Validated(good.reset_index(drop=True), quarantined.reset_index(drop=True), failures)


def _match_columns(
    present: Iterable[str], columns: Iterable[str], carried: Collection[str], source: str
) -> None:
    expected = [*columns, *carried]
    require_columns(present, expected, source)
    unknown = [str(name) for name in present if name not in expected]
    if unknown:
        raise UserError(
            f"{source} has a column that is not in problem.yaml: {', '.join(unknown)}. Remove it."
        )


def _typed(values: pd.Series, column: Column) -> pd.Series:
    """Convert a column to normalised texts or to floats; values that are neither become missing."""
    if isinstance(column, CategoryColumn):
        if not isinstance(values.dtype, pd.StringDtype):
            values = values.where(values.map(lambda value: isinstance(value, str)))
        if column.form == "integer":
            values = values.map({value: _canonical(value, column) for value in values.dropna().unique()})
        return values.astype("str")
    if isinstance(column, TimestampColumn) and not pd.api.types.is_numeric_dtype(values):
        texts = values.astype("str")
        zoned = texts.where(texts.str.contains(ZONED, regex=True, na=False))
        times = pd.to_datetime(zoned, utc=True, errors="coerce", format="ISO8601")
        seconds = (times - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(seconds=1)
        return seconds.astype("float64").fillna(pd.to_numeric(texts, errors="coerce"))
    return pd.to_numeric(values, errors="coerce").astype("float64")


def _canonical(value: str, column: CategoryColumn) -> str | None:
    try:
        return column.canonical(value)
    except ValueError:
        return None


def _checks(given: pd.Series, typed: pd.Series, column: Column) -> Iterator[tuple[str, pd.Series]]:
    """The checks of a column, and whether each row fails them."""
    missing, known = given.isna(), typed.notna()
    match column:
        case CategoryColumn():
            kind = "a text" if column.form == "text" else "a whole number"
            valid, limits = typed.isin(column.values), f"not one of {', '.join(column.values)}"
            if not column.values:
                valid = typed.str.len().between(1, column.max_length)
                limits = f"not 1 to {column.max_length} characters"
        case TimestampColumn():
            kind = "a time in ISO 8601 with a zone, nor in epoch seconds"
            low, high = epoch(column.min), epoch(column.max)
            valid, limits = typed.between(low, high), f"outside {iso(low)} to {iso(high)}"
        case _:
            kind = "a number"
            valid = typed.between(column.min, column.max)
            limits = f"outside {column.min:g} to {column.max:g}"
    yield f"not {kind}", ~known & ~missing
    if not column.nullable:
        yield "missing", missing
    yield limits, known & ~valid
    if column.type == "integer":
        yield "not a whole number", known & (typed % 1 != 0)


def _dtype(column: Column) -> str:
    if isinstance(column, CategoryColumn):
        return "str"
    whole = isinstance(column, TimestampColumn) or column.type == "integer"
    return "int64" if whole and not column.nullable else "float64"


def _union(rows: Iterable[pd.Index]) -> pd.Index:
    """The rows of several selections, in order."""
    union: pd.Index = pd.Index(sorted(set().union(*rows)), dtype="int64")
    return union


def _failures(found: Iterable[tuple[Sequence[str], str, pd.Index]], rows: pd.DataFrame) -> pd.DataFrame:
    """One line per row and failed check, with the values as text, empty if missing."""
    lines: list[tuple[Any, ...]] = []
    for names, check, failing in found:
        cells = rows.loc[failing, list(names)].astype(object).to_numpy()
        texts = [" ".join("" if pd.isna(value) else str(value) for value in row) for row in cells]
        lines += [(row, " ".join(names), text, check) for row, text in zip(failing, texts, strict=True)]
    failures = pd.DataFrame(lines, columns=["row", "column", "value", "check"])
    failures = failures.astype({"row": "int64", "column": "str", "value": "str", "check": "str"})
    return failures.sort_values("row", kind="stable", ignore_index=True)


def _as_iso(seconds: pd.Series, otherwise: pd.Series) -> pd.Series:
    """Format epoch seconds as ISO 8601 texts; other values where that is not possible."""
    times = pd.to_datetime(seconds, unit="s", utc=True, errors="coerce").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return times.astype(object).where(times.notna(), otherwise)


def write_quarantine(rows: pd.DataFrame, path: Path) -> None:
    """Write rows as CSV, atomically, even if there are none, so that no older file remains.

    Raises:
        UserError: when the file cannot be written.
    """
    write_whole(path, lambda temporary: rows.to_csv(temporary, index=False))
