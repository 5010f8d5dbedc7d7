"""What is predicted: the task, the classes, and sentences for a target that cannot work."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import pandas as pd

from core.errors import UserError
from core.tables import number, text

Task = Literal["binary", "multiclass", "regression"]
POSITIVE = (
    "1",
    "true",
    "yes",
    "y",
    "t",
    "bad",
    "positive",
    "churned",
    "fraud",
    "default",
    "failed",
    "malignant",
)
MOST_CLASSES = 20
LEAST_ROWS = 100
LEAST_OF_CLASS = 10
BINARY = 2


@dataclass(frozen=True)
class Target:
    """What is predicted; `classes` in the order of their places, in a binary task the positive one last."""

    header: str
    task: Task
    classes: tuple[str, ...]
    shares: tuple[float, ...]
    rows: int  # that have one
    missing: float


def find_target(table: pd.DataFrame, header: str, task: str = "", positive: str = "") -> Target:
    """The target column.

    Raises:
        UserError: when there is none of that name, or nothing can be learnt from it.
    """
    values = table[require_column(table, header, "TARGET")]
    missing = float(values.isna().mean())
    texts = text(values)
    counts = texts.value_counts()
    rows = int(counts.sum())
    if rows == 0:
        raise UserError(
            f"The target {header!r} is empty in every row: name the column that holds the outcome."
        )
    if len(counts) == 1:
        raise UserError(
            f"The target {header!r} is constant: all {rows:,} rows have {counts.index[0]!r}, so there is nothing to "
            "tell apart. Name another target, or bring rows with other outcomes too."
        )
    if rows < LEAST_ROWS:
        raise UserError(
            f"Only {rows} rows have a target, too few: {LEAST_ROWS} are needed to train, validate, compare and test on "
            "rows of their own. Bring more rows."
        )
    found = _task(values, counts, header) if not task else task
    if found == "regression":
        if number(values).notna().mean() < (1 - missing) * 0.99:
            raise UserError(
                f"The target {header!r} is not a number, as a regression needs: take TASK=multiclass."
            )
        return Target(header, "regression", (), (), rows, missing)
    if found not in ("binary", "multiclass"):
        raise UserError(f"TASK={found} is none of binary, multiclass, regression.")
    if found == "binary" and len(counts) != BINARY:
        raise UserError(f"The target {header!r} has {len(counts)} values, not two: take TASK=multiclass.")
    if len(counts) > MOST_CLASSES:
        raise UserError(
            f"The target {header!r} has {len(counts)} classes, more than {MOST_CLASSES}: group them, or take "
            "TASK=regression if they are amounts."
        )
    rare, size = str(counts.index[-1]), int(counts.iloc[-1])
    if size < LEAST_OF_CLASS:
        raise UserError(
            f"The class {rare!r} of {header!r} has {size} rows of {rows:,}, too few to learn and to test: bring "
            f"{LEAST_OF_CLASS} or more, or put it together with another class."
        )
    if found == "binary":
        yes = _positive([str(one) for one in counts.index], positive)
        classes: Sequence[str] = [str(one) for one in counts.index if one != yes] + [yes]
    else:
        classes = sorted(str(one) for one in counts.index)
    task_found: Task = "binary" if found == "binary" else "multiclass"
    return Target(
        header, task_found, tuple(classes), tuple(float(counts[one] / rows) for one in classes), rows, missing
    )


def require_column(table: pd.DataFrame, header: str, what: str) -> str:
    """The header as the table has it, whatever the case.

    Raises:
        UserError: with the nearest names, when the table has none.
    """
    headers = [str(one) for one in table.columns]
    if header in headers:
        return header
    same = [one for one in headers if one.lower() == header.lower()]
    if len(same) == 1:
        return same[0]
    near = get_close_matches(header, headers, 3, 0.5) or headers[:12]
    raise UserError(f"{what}: the table has no column {header!r}. Did you mean {', '.join(map(repr, near))}?")


def _task(values: pd.Series, counts: pd.Series, header: str) -> str:
    if len(counts) == BINARY:
        return "binary"
    numbers = number(values.dropna())
    if numbers.notna().mean() > 0.99 and not pd.api.types.is_bool_dtype(values):  # noqa: PLR2004
        fractional = bool((numbers.dropna() % 1 != 0).any())
        if fractional or len(counts) > MOST_CLASSES or numbers.max() - numbers.min() >= 2 * len(counts):
            return "regression"
        return "multiclass"
    if len(counts) > MOST_CLASSES and len(counts) > len(values) // 20:
        raise UserError(
            f"The target {header!r} is text with {len(counts):,} different values, neither classes nor numbers: name "
            "another column."
        )
    return "multiclass"


def _positive(classes: list[str], wanted: str) -> str:
    """The class that is acted on: the one named, the one whose name says so, else the rarer one."""
    if wanted:
        if wanted not in classes:
            raise UserError(f"POSITIVE={wanted} is none of the target's values {', '.join(classes)}.")
        return wanted
    said = [one for one in classes if one.lower() in POSITIVE]
    return said[0] if len(said) == 1 else classes[-1]
