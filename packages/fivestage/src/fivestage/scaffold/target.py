"""Find the target's task and classes or range, and refuse a target that cannot be learnt."""

import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fivestage.common.columns import Floats
from fivestage.common.errors import UserError, did_you_mean
from fivestage.contract.contract import TASKS
from fivestage.data.cleaning import class_codes, equals, exceeds, number, text
from fivestage.reporting.number_format import plural
from fivestage.scaffold.column_profiles import decimal_of

YES = ("1", "true", "yes", "y", "t", "bad", "positive", "churned", "fraud", "default", "failed", "malignant")
LEAST_ROWS = 100
LEAST_OF_CLASS = 10
SHOWN = 6
BINARY = 2
ABOVE = r">\s*([+-]?\d+(?:\.\d+)?)"  # a limit beyond which a number counts as positive
MOST_CLASSES = 20  # maximum number of classes
CODE = (number, class_codes, exceeds, equals)  # functions that a target's expression may call
FEW_NUMBERS = 12  # up to so many distinct whole numbers are classes, more are a quantity


@dataclass(frozen=True)
class Target:
    """The target: if it has two `classes`, the last is positive; a number has none."""

    header: str
    classes: tuple[str, ...]
    shares: tuple[float, ...]
    positive: str = ""  # the positive value of a target with more than two values
    decimal: str = "."
    low: float = 0  # of numbers
    high: float = 0
    mean: float = 0
    spread: float = 0  # their standard deviation

    @property
    def task(self) -> str:
        """The task of the contract."""
        if not self.classes:
            return "regression"
        return "binary" if len(self.classes) == BINARY else "multiclass"

    def label(self, table: pd.DataFrame) -> Floats:
        """Return each row's target as a number: itself, 1 if positive, or the index of its class."""
        names = {"values": table[self.header]} | {one.__name__: one for one in CODE}
        labels: pd.Series = eval(self.code("values"), names)  # noqa: S307 (the code that will be written)
        return labels.to_numpy(np.float64)

    def code(self, column: str) -> str:
        """Return `label` as an expression for `problem/dataset.py`, given the expression of a column."""
        if not self.classes:
            decimal = "" if self.decimal == "." else f", {self.decimal!r}"
            return f"number({column}{decimal})"
        if len(self.classes) > BINARY:
            return f"class_codes({column}, {self.classes!r})"
        if above := re.fullmatch(ABOVE, self.positive):
            return f"exceeds({column}, {above[1]})"
        return f"equals({column}, {self.positive or self.classes[1]!r})"


def find_target(
    table: pd.DataFrame, header: str, positive: str = "", task: str = "", usual: str = ""
) -> Target:
    """Find the target for the given task, or infer the task from the values; `usual` if ambiguous."""
    values, task = table[header], task.strip().lower()
    if task not in ("", *TASKS):
        raise UserError(f"TASK={task} is none of {', '.join(TASKS)}.")
    sizes = _sizes(values)
    rows = sum(sizes.values())
    if rows == 0:
        raise UserError(
            f"The target {header!r} is empty in every row: name the column that holds the outcome."
        )
    if len(sizes) == 1:
        raise UserError(
            f"The target {header!r} is constant: all {rows:,} rows have {next(iter(sizes))!r}, so there is "
            "nothing to tell apart. Name another target, or bring rows with other outcomes too."
        )
    if rows < LEAST_ROWS:
        raise UserError(
            f"Only {plural(rows, 'row has', 'rows have')} a target, too few: {LEAST_ROWS} are needed to "
            "train, validate, compare and test on rows of their own. Bring more rows."
        )
    if len(sizes) == BINARY and task != "regression":
        return _of_two(header, sizes, positive)
    if positive or task == "binary":
        return _one_against_the_rest(values, header, list(sizes), positive)
    if task == "regression" or (not task and _is_quantity(values, sizes, usual)):
        return _number(values, header)
    return _classes(header, sizes)


def require_column(table: pd.DataFrame, header: str, what: str) -> str:
    """Return the header as spelled in the table, ignoring case."""
    headers = [str(one) for one in table.columns]
    if header in headers:
        return header
    same = [one for one in headers if one.strip().lower() == header.strip().lower()]
    if len(same) == 1:
        return same[0]
    near = did_you_mean(header, headers) or f" It has {_shown(headers)}."
    raise UserError(f"{what}: the table has no column {header!r}.{near}")


def _sizes(values: pd.Series) -> dict[str, int]:
    """Count the rows of each value, the most frequent first; variants in case count as one."""
    spelled = text(values).rename("value").value_counts().reset_index(name="rows")
    found = spelled.groupby(spelled["value"].str.casefold(), sort=False).agg(
        {"value": "first", "rows": "sum"}
    )
    found = found.sort_values("rows", ascending=False, kind="stable")
    return dict(zip(found["value"], found["rows"].astype(int), strict=True))


def _is_quantity(values: pd.Series, sizes: dict[str, int], usual: str) -> bool:
    """Return whether the values are numbers to predict rather than class names."""
    decimal = decimal_of(text(values).dropna().drop_duplicates())
    if decimal is None:
        return False
    broken = bool((number(values, decimal).dropna() % 1 != 0).any())
    most = {"multiclass": MOST_CLASSES, "regression": 0}.get(usual, FEW_NUMBERS)
    return broken or len(sizes) > most


def _number(values: pd.Series, header: str) -> Target:
    decimal = decimal_of(text(values).dropna().drop_duplicates())
    if decimal is None:
        seen = ", ".join(map(repr, text(values).dropna().unique()[:3]))
        raise UserError(
            f"The target {header!r} holds no numbers, such as {seen}: TASK=regression needs them."
        )
    numbers = number(values, decimal).dropna()
    low, high, mean = float(numbers.min()), float(numbers.max()), float(numbers.mean())
    return Target(header, (), (), "", decimal, low, high, mean, float(numbers.std()))


def _classes(header: str, sizes: dict[str, int]) -> Target:
    """Make a target of several classes."""
    classes = sorted(sizes)
    if len(classes) > MOST_CLASSES:
        raise UserError(
            f"The target {header!r} has {len(classes)} values ({_shown(list(sizes))}), too many to be told "
            f"apart: {MOST_CLASSES} at most. Join the rare ones into one, or say which one is acted on: "
            f"POSITIVE={next(iter(sizes))!r}. For numbers there is TASK=regression."
        )
    _require_each(header, sizes, numbers=decimal_of(pd.Series(classes)) is not None)
    rows = sum(sizes.values())
    return Target(header, tuple(classes), tuple(sizes[one] / rows for one in classes))


def _of_two(header: str, sizes: dict[str, int], positive: str) -> Target:
    yes = _positive(list(sizes), positive)
    no = next(one for one in sizes if one != yes)
    _require_each(header, sizes)
    share = sizes[yes] / (sizes[yes] + sizes[no])
    return Target(header, (no, yes), (1 - share, share))


def _one_against_the_rest(values: pd.Series, header: str, classes: list[str], positive: str) -> Target:
    """Make a binary target of many values: one of them, or numbers above a limit, are positive."""
    wanted = positive.strip()
    if wanted not in classes and not re.fullmatch(ABOVE, wanted):
        said = f"POSITIVE={wanted} is none of them. " if wanted else ""
        raise UserError(
            f"The target {header!r} has {len(classes)} values ({_shown(classes)}). {said}Say which one is "
            f"acted on, POSITIVE={classes[0]!r}, for numbers a limit, POSITIVE='> 10'; or TASK=multiclass, "
            "which tells them all apart, or for numbers TASK=regression."
        )
    target = Target(header, (f"not {wanted}", wanted), (), wanted)
    labels = target.label(values.to_frame())
    found = labels[~np.isnan(labels)]
    if not len(found):
        raise UserError(f"The target {header!r} holds no numbers, so that none is {wanted}.")
    share = float(found.mean())
    _require_each(header, {wanted: int(found.sum()), "the rest": int((1 - found).sum())})
    return replace(target, shares=(1 - share, share))


def _shown(classes: list[str]) -> str:
    more = f" and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
    return ", ".join(repr(one) for one in classes[:SHOWN]) + more


def _require_each(header: str, sizes: dict[str, int], *, numbers: bool = False) -> None:
    rare = min(sizes, key=sizes.__getitem__)
    if sizes[rare] < LEAST_OF_CLASS:
        others = f", or join it with another, or say which one is acted on: POSITIVE={next(iter(sizes))!r}"
        others = others if len(sizes) > BINARY else ""
        others += "; to forecast the number itself: TASK=regression" if numbers else ""
        rows = f"{plural(sizes[rare], 'row')} of {sum(sizes.values()):,}"
        raise UserError(
            f"The target {header!r} is {rare!r} in {rows}, too few to "
            f"learn and to test: bring {LEAST_OF_CLASS} or more{others}."
        )


def _positive(classes: list[str], wanted: str) -> str:
    """Return the positive class: the one given, else one with a typical name, else the rarer one."""
    if wanted:
        named = [one for one in classes if one.casefold() == wanted.strip().casefold()]
        if not named:
            raise UserError(f"POSITIVE={wanted} is none of the target's values {', '.join(sorted(classes))}.")
        return named[0]
    said = [one for one in classes if one.lower() in YES]
    return said[0] if len(said) == 1 else classes[-1]
