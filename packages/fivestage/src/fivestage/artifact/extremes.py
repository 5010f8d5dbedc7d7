"""Rows at the ends of what the contract allows, which a feature must have a value for, or be missing."""

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
)

if TYPE_CHECKING:
    from fivestage.artifact.engine import Engine

EXAMPLE, LEAST, MOST = "as in the example", "at its least", "at its most"
AS_EXAMPLE = "every column is as in its example"
UNSEEN = "\u2603"  # a text that no table has


def require_defined(engine: "Engine") -> None:
    """Ask the engine the example row, and with a column at its least, its most, zero, missing or unseen.

    Raises:
        UserError: naming the feature that has no value for one of them, and the row's column.
    """
    contract = engine.artifact.contract
    for column, row in [(AS_EXAMPLE, example_row(contract)), *extreme_rows(contract)]:
        before = set(engine.undefined)
        try:
            (answer,) = engine.predict([row])
        except Exception as error:
            raise UserError(
                f"The features of a row fail where {column}, which problem/problem.yaml allows: {error!r}. "
                "Mend them in problem/features.py, or narrow the contract."
            ) from error
        undefined = sorted(set(engine.undefined) - before)
        if undefined:
            where = _cause(engine, contract) if column == AS_EXAMPLE else column
            raise UserError(
                f"The feature {', '.join(undefined)} has no value where {where}, which problem/problem.yaml "
                "allows, as in a division by zero. Mend it in problem/features.py, or narrow the contract."
            )
        if not np.isfinite(engine.form.forecast(answer)).all():
            raise UserError(f"The model has no answer where {column}, which problem/problem.yaml allows.")


def _cause(engine: "Engine", contract: Contract) -> str:
    """The column by whose example the example row has no value for a feature, where one alone can mend it."""
    usual, cures = example_row(contract), set()
    for name, column in contract.columns.items():
        for value in _values(column).values():
            engine.undefined.clear()
            engine.predict([usual | {name: value}])
            if not engine.undefined:
                cures.add(name)
    return f"{cures.pop()} is {EXAMPLE}" if len(cures) == 1 else AS_EXAMPLE


def extreme_rows(contract: Contract) -> list[tuple[str, Row]]:
    """Rows of examples with one column at an extreme; then all columns at their least, and at their most."""
    columns = {name: _values(column) for name, column in contract.columns.items()}
    usual = example_row(contract)
    found: list[tuple[str, Row]] = [
        (f"{name} is {said}", usual | {name: value})
        for name, values in columns.items()
        for said, value in values.items()
        if said != EXAMPLE
    ]
    for end in (LEAST, MOST):
        ends = {name: values[end] for name, values in columns.items() if end in values}
        found.append((f"every column is {end}", usual | ends))
    return found


def example_row(contract: Contract) -> dict[str, Any]:
    """The row of the contract's examples, timestamps in epoch seconds."""
    return {name: _values(column)[EXAMPLE] for name, column in contract.columns.items()}


def _values(column: Column) -> dict[str, Any]:
    """A column's example, and its values at the extremes of the contract, as a row holds them."""
    match column:
        case CategoryColumn():
            found: dict[str, Any] = {EXAMPLE: column.example}
            found |= {} if column.values else {"a text that was never seen": UNSEEN}
        case TimestampColumn():
            found = {EXAMPLE: epoch(column.example), LEAST: epoch(column.min), MOST: epoch(column.max)}
        case NumberColumn():
            kind = int if column.type == "integer" else float
            found = {EXAMPLE: kind(column.example), LEAST: kind(column.min), MOST: kind(column.max)}
            found |= {"zero": kind(0)} if column.min <= 0 <= column.max else {}
    if column.nullable:
        found["missing"] = "" if isinstance(column, CategoryColumn) else float("nan")
    return found
