"""Boundary tests: on rows at the limits of the contract, every feature must have a value or be missing."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fivestage.common.columns import Row
from fivestage.common.errors import UserError
from fivestage.contract.contract import (
    CategoryColumn,
    Column,
    Contract,
    NumberColumn,
    TimestampColumn,
    epoch,
    iso,
)

if TYPE_CHECKING:
    from fivestage.artifact.engine import Engine

EXAMPLE, MINIMUM, MAXIMUM = "at its example value", "at its minimum", "at its maximum"
ALL_EXAMPLES = "every column is at its example value"
UNSEEN = "\u2603"  # a text that no table contains


def require_defined(engine: "Engine") -> None:
    """Predict the example row, and rows with a column at its minimum, maximum, zero, missing or unseen.

    Raises:
        UserError: naming a feature that has no value for such a row, and the column that causes it.
    """
    contract = engine.artifact.contract
    for condition, row in [(ALL_EXAMPLES, example_row(contract)), *extreme_rows(contract)]:
        before = set(engine.undefined)
        try:
            (prediction,) = engine.predict([row])
        except Exception as error:
            raise UserError(
                f"A feature fails where {condition}, which problem/problem.yaml allows: {error!r}. "
                "Fix it in problem/features.py, or narrow the contract."
            ) from error
        undefined = sorted(set(engine.undefined) - before)
        if undefined:
            where = _cause(engine, contract) if condition == ALL_EXAMPLES else condition
            raise UserError(
                f"The feature {', '.join(undefined)} has no value where {where}, which problem/problem.yaml "
                "allows. It may divide by zero: fix it in problem/features.py, or narrow the contract."
            )
        if not np.isfinite(engine.form.forecast(prediction)).all():
            raise UserError(
                f"The model has no finite forecast where {condition}, which problem/problem.yaml allows."
            )


def _cause(engine: "Engine", contract: Contract) -> str:
    """Find the column whose example value leaves a feature undefined, if it is a single one."""
    example, causes = example_row(contract), set()
    for name, column in contract.columns.items():
        for value in _values(column).values():
            engine.undefined.clear()
            engine.predict([example | {name: value}])
            if not engine.undefined:
                causes.add(name)
    return f"{causes.pop()} is {EXAMPLE}" if len(causes) == 1 else ALL_EXAMPLES


def extreme_rows(contract: Contract) -> list[tuple[str, Row]]:
    """Return rows with one column, or all of them, at an extreme of the contract, each with a description."""
    columns = {name: _values(column) for name, column in contract.columns.items()}
    example = example_row(contract)
    rows: list[tuple[str, Row]] = [
        (f"{name} is {extreme}", example | {name: value})
        for name, values in columns.items()
        for extreme, value in values.items()
        if extreme != EXAMPLE
    ]
    for extreme in (MINIMUM, MAXIMUM):
        all_extreme = {name: values[extreme] for name, values in columns.items() if extreme in values}
        rows.append((f"every column is {extreme}", example | all_extreme))
    return rows


def example_row(contract: Contract) -> dict[str, Any]:
    """Return a row of the contract's examples, with timestamps in epoch seconds."""
    return {name: _values(column)[EXAMPLE] for name, column in contract.columns.items()}


def json_row(contract: Contract, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as a client sends it: times as text in UTC, whole numbers as integers."""
    return {name: _json_value(column, row[name]) for name, column in contract.columns.items()}


def _json_value(column: Column, value: Any) -> Any:
    if isinstance(column, TimestampColumn):
        return iso(int(value))
    whole = column.type == "integer" and value == value  # noqa: PLR0124 (NaN)
    return int(value) if whole else value


def _values(column: Column) -> dict[str, Any]:
    """Return a column's example and its extreme values under the contract, in the form rows have them."""
    match column:
        case CategoryColumn():
            values: dict[str, Any] = {EXAMPLE: column.example}
            values |= {} if column.values else {"a text that was never seen": UNSEEN}
        case TimestampColumn():
            values = {EXAMPLE: epoch(column.example), MINIMUM: epoch(column.min), MAXIMUM: epoch(column.max)}
        case NumberColumn():
            kind = int if column.type == "integer" else float
            values = {EXAMPLE: kind(column.example), MINIMUM: kind(column.min), MAXIMUM: kind(column.max)}
            values |= {"zero": kind(0)} if column.min <= 0 <= column.max else {}
    if column.nullable:
        values["missing"] = "" if isinstance(column, CategoryColumn) else float("nan")
    return values
