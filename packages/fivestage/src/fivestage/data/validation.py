"""Validate tables against the contract, and quarantine the rows that violate it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from fivestage.common.errors import UserError, require_columns
from fivestage.common.files import write_whole
from fivestage.contract.contract import CategoryColumn, Column, ColumnRule, TimestampColumn, epoch, iso

TIME_COLUMNS = ("decision_at", "known_at")  # further columns of rows, in epoch seconds


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


def frame_schema(columns: Mapping[str, Column]) -> pa.DataFrameSchema:
    """The pandera schema; numbers and timestamps are floats, so that missing values have the right type."""
    return pa.DataFrameSchema(
        {name: _schema_column(column) for name, column in columns.items()}, strict=True, ordered=True
    )


def _schema_column(column: Column) -> pa.Column:
    if isinstance(column, CategoryColumn):
        longest = pa.Check.str_length(1, column.max_length, error=f"not 1 to {column.max_length} characters")
        listed = pa.Check.isin(column.values, error=f"not one of {', '.join(column.values)}")
        return pa.Column("str", listed if column.values else longest, nullable=column.nullable)
    if isinstance(column, TimestampColumn):
        low, high = epoch(column.min), epoch(column.max)
        within = pa.Check.in_range(low, high, error=f"outside {iso(low)} to {iso(high)}")
        return pa.Column("float64", within, nullable=column.nullable)
    within = pa.Check.in_range(column.min, column.max, error=f"outside {column.min:g} to {column.max:g}")
    whole = pa.Check(_is_whole, error="not a whole number")
    checks = [within, whole] if column.type == "integer" else [within]
    return pa.Column("float64", checks, nullable=column.nullable)


def _is_whole(values: pd.Series) -> pd.Series:
    return values % 1 == 0


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
        frame: the rows to validate.
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
    times = [name for name, column in columns.items() if isinstance(column, TimestampColumn)]
    typed = pd.DataFrame({name: _typed(given[name], column) for name, column in columns.items()})
    failures = pd.concat(
        [
            _unreadable(given, typed, columns),
            _invalid(given, typed, columns),
            _violations(given, typed, rules),
        ]
    )
    valid = typed.drop(index=pd.Index(failures["row"].unique()))
    if identity:
        failures = pd.concat([failures, _duplicates(given, valid, identity, times)])
    failures = failures.sort_values("row", kind="stable", ignore_index=True)
    of_times = failures["column"].isin(times)
    failures["value"] = failures["value"].where(~of_times, _as_iso(failures.loc[of_times, "value"]))
    rows = pd.Index(failures["row"].unique())
    good = typed.drop(index=rows).astype({name: _dtype(column) for name, column in columns.items()})
    good = good.join(given[list(carried)])
    texts = (failures["column"] + " " + failures["value"]).str.rstrip() + ": " + failures["check"]
    reasons = texts.groupby(failures["row"]).agg("; ".join)
    quarantined = given.loc[rows]
    for name in (*times, *carried):
        if name in times or name in TIME_COLUMNS:
            quarantined[name] = _as_iso(quarantined[name])
    quarantined.insert(0, "row", rows)
    quarantined.insert(1, "reason", reasons)
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
    if not isinstance(column, CategoryColumn):
        return pd.to_numeric(values, errors="coerce").astype("float64")
    if not isinstance(values.dtype, pd.StringDtype):
        values = values.where(values.map(lambda value: isinstance(value, str)))
    if column.form == "integer":
        values = values.map({value: _canonical(value, column) for value in values.dropna().unique()})
    return values.astype("str")


def _canonical(value: str, column: CategoryColumn) -> str | None:
    try:
        return column.canonical(value)
    except ValueError:
        return None


def _dtype(column: Column) -> str:
    if isinstance(column, CategoryColumn):
        return "str"
    whole = isinstance(column, TimestampColumn) or column.type == "integer"
    return "int64" if whole and not column.nullable else "float64"


def _unreadable(given: pd.DataFrame, typed: pd.DataFrame, columns: Mapping[str, Column]) -> pd.DataFrame:
    kinds = {"category": "a text", "timestamp": "a time in ISO 8601 with a zone, nor in epoch seconds"}
    unreadable = typed.isna() & given[list(columns)].notna()
    failures: list[pd.DataFrame] = []
    for name, column in columns.items():
        kind = "a whole number" if column.type == "category" and column.form == "integer" else None
        kind = kind or kinds.get(column.type, "a number")
        failures.append(_failures(given.loc[unreadable[name], name], f"not {kind}"))
    return pd.concat(failures)


def _invalid(given: pd.DataFrame, typed: pd.DataFrame, columns: Mapping[str, Column]) -> pd.DataFrame:
    """Failures that pandera finds, except values that only conversion made missing."""
    try:
        frame_schema(columns).validate(typed, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
    else:
        return _failures(given.iloc[:0, 0], "")
    failures: list[pd.DataFrame] = []
    for (name, check), rows in cases.groupby(["column", "check"], sort=False)["index"]:
        values = given[str(name)].loc[rows.astype("int64")]
        if check == "not_nullable":
            failures.append(_failures(values[values.isna()], "missing"))
        else:
            failures.append(_failures(values, str(check)))
    return pd.concat(failures)


def _violations(given: pd.DataFrame, typed: pd.DataFrame, rules: Sequence[ColumnRule]) -> pd.DataFrame:
    """Rows that violate a rule between two columns."""
    failures = [_failures(given.iloc[:0, 0], "")]
    for rule in rules:
        broken = ~rule.holds({name: typed[name] for name in (rule.left, rule.right)})
        failures.append(_failures(given.loc[broken, rule.left], f"breaks the rule {rule}"))
    return pd.concat(failures)


def _duplicates(
    given: pd.DataFrame, valid: pd.DataFrame, identity: Sequence[str], times: Collection[str]
) -> pd.DataFrame:
    duplicates = valid.index[valid.duplicated(list(identity))]
    cells = given.loc[duplicates, list(identity)]
    cells = cells.apply(lambda values: _as_iso(values) if values.name in times else values).astype("str")
    values = pd.Series(
        [" ".join(row) for row in cells.to_numpy()], index=duplicates, name=" ".join(identity), dtype="str"
    )
    return _failures(values, "the same identity twice")


def _as_iso(values: pd.Series) -> pd.Series:
    """Format epoch seconds as ISO 8601 texts; other values stay as they are."""
    seconds = pd.to_numeric(values, errors="coerce")
    times = pd.to_datetime(seconds, unit="s", utc=True, errors="coerce").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return times.astype(object).where(times.notna(), values)


def _failures(values: pd.Series, check: str) -> pd.DataFrame:
    """A line per failure of one check, with the value as text, empty if it is missing."""
    texts = ["" if pd.isna(value) else str(value) for value in values]
    failures = pd.DataFrame({"row": values.index, "column": str(values.name), "value": texts, "check": check})
    return failures.astype({"row": "int64", "column": "str", "value": "str", "check": "str"})


def summary(failures: pd.DataFrame) -> pd.DataFrame:
    """Number of rows that fail each check, most frequent first: `column`, `check`, `rows`, `example`."""
    groups = failures.groupby(["column", "check"], as_index=False)
    counts = groups.agg(rows=("row", "size"), example=("value", "first"))
    return counts.sort_values("rows", ascending=False, kind="stable", ignore_index=True)


def write_quarantine(rows: pd.DataFrame, path: Path) -> None:
    """Write rows as CSV, atomically, even if there are none, so that no older file remains.

    Raises:
        UserError: when the file cannot be written.
    """
    write_whole(path, lambda temporary: rows.to_csv(temporary, index=False))
