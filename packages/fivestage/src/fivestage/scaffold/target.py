"""Find the target's task and classes or range, and refuse a target that cannot be learnt."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fivestage.common.columns import Floats
from fivestage.common.errors import UserError, did_you_mean
from fivestage.contract.contract import TASKS
from fivestage.data.cleaning import class_codes, equals, exceeds, number, text
from fivestage.reporting.number_format import plural
from fivestage.scaffold.column_profiles import ColumnProfile, decimal_of

YES = (
    "1", "true", "yes", "y", "t", "bad", "positive", "churned", "fraud", "default", "failed", "malignant",
    "ja", "wahr", "oui", "vrai", "sí", "sì", "si", "sim", "verdadero", "tak", "да",
)  # fmt: skip
EMPTY = "empty"  # the class of empty fields, if POSITIVE names the only value
NO_VALUE = "no value"  # the same, if the only value is "empty"
LEAST_ROWS = 100
LEAST_OF_CLASS = 10
MOST_SHOWN = 6  # values in a message
BINARY = 2
ABOVE = r">\s*([+-]?\d+(?:\.\d+)?)"  # a limit above which a number counts as positive
MOST_CLASSES = 20
FUNCTIONS = (text, number, class_codes, exceeds, equals)  # that a target's expression may call
FEW_NUMBERS = 12  # maximum number of distinct whole numbers that are classes; more are a quantity


@dataclass(frozen=True)
class Target:
    """The target: if it has two `classes`, the last is positive; a number has none."""

    header: str
    classes: tuple[str, ...]
    shares: tuple[float, ...]
    positive: str = ""  # the positive value, or limit, of a target with more than two values
    decimal: str = "."
    low: float = 0  # of numbers
    high: float = 0
    mean: float = 0
    spread: float = 0  # their standard deviation
    empty_is_negative: bool = False  # whether empty fields are rows of the first class

    @property
    def task(self) -> str:
        """The task of the contract."""
        if not self.classes:
            return "regression"
        return "binary" if len(self.classes) == BINARY else "multiclass"

    @property
    def measure(self) -> str:
        """What the score of a quick model is."""
        return "ROC-AUC" if self.classes else "R²"

    def profile(self, name: str) -> ColumnProfile:
        """Return the profile of the outcome, by which it is checked, under its name in the contract."""
        if not self.classes:
            mean = float(f"{self.mean:.4g}")
            return ColumnProfile(self.header, name, "number", low=self.low, high=self.high, example=mean)
        longest, example = max(map(len, self.classes)), self.classes[-1]
        return ColumnProfile(
            self.header, name, "category", levels=self.classes, longest=longest, example=example
        )

    def label(self, table: pd.DataFrame) -> Floats:
        """Return each row's target as a number: itself, 1 if positive, or the index of its class."""
        names = {"values": table[self.header]} | {function.__name__: function for function in FUNCTIONS}
        labels: pd.Series = eval(self.code("values"), names)  # noqa: S307 (the code that will be written)
        return labels.to_numpy(np.float64)

    def code(self, column: str) -> str:
        """Return `label` as an expression for `problem/dataset.py`, given the expression of a column."""
        decimal = "" if self.decimal == "." else f", {self.decimal!r}"
        if not self.classes:
            return f"number({column}{decimal})"
        if len(self.classes) > BINARY:
            return f"class_codes({column}, {self.classes!r})"
        if above := re.fullmatch(ABOVE, self.positive):
            return f"exceeds({column}, {above[1]}{decimal})"
        if self.empty_is_negative:
            column = f"text({column}).fillna({self.classes[0]!r})"
        return f"equals({column}, {self.positive or self.classes[1]!r})"


def find_target(
    table: pd.DataFrame,
    header: str,
    positive: str = "",
    task: str = "",
    usual: str = "",
    usual_decimal: str = ".",
) -> Target:
    """Find the target for the given task, or infer the task from the values; `usual` if ambiguous."""
    values, task, positive = table[header], task.strip().lower(), positive.strip()
    if task not in ("", *TASKS):
        raise UserError(f"TASK={task} is none of {', '.join(TASKS)}.")
    sizes = _sizes(values)
    rows = sum(sizes.values())
    if rows == 0:
        raise UserError(
            f"The target {header!r} is empty in every row: name the column that holds the outcome."
        )
    empty_is_negative = len(sizes) == 1
    if empty_is_negative:
        sizes = _with_empty(header, sizes, len(values) - rows, positive)
        rows = sum(sizes.values())
    if rows < LEAST_ROWS:
        raise UserError(
            f"Only {plural(rows, 'row has', 'rows have')} a target. {LEAST_ROWS} are needed, because "
            "training, validation, comparison and test use different rows. Add rows."
        )
    if len(sizes) == BINARY and task != "regression":
        return replace(_binary(header, sizes, positive), empty_is_negative=empty_is_negative)
    decimal = decimal_of(text(values).dropna().drop_duplicates(), usual_decimal)
    if positive or task == "binary":
        return _one_against_the_rest(values, header, list(sizes), positive, decimal or ".")
    if decimal and not task:
        broken = bool((number(values, decimal).dropna() % 1 != 0).any())
        most = {"multiclass": MOST_CLASSES, "regression": 0}.get(usual, FEW_NUMBERS)
        task = "regression" if broken or len(sizes) > most else ""
    if task != "regression":
        return _multiclass(header, sizes, numbers=decimal is not None)
    if not decimal:
        raise UserError(
            f"TASK=regression needs numbers, but the target {header!r} has texts: {_listed(list(sizes)[:3])}."
        )
    numbers = number(values, decimal).dropna()
    low, high, mean = float(numbers.min()), float(numbers.max()), float(numbers.mean())
    return Target(header, (), (), "", decimal, low, high, mean, float(numbers.std()))


def require_column(table: pd.DataFrame, header: str, option: str) -> str:
    """Return the header as spelled in the table, ignoring case."""
    headers = [*map(str, table.columns)]
    if header in headers:
        return header
    same = [known for known in headers if known.strip().lower() == header.strip().lower()]
    if len(same) == 1:
        return same[0]
    hint = did_you_mean(header, headers) or f" It has {_listed(headers)}."
    if any(re.fullmatch(r"[\d.,]+", one) for one in headers):
        hint += " These look like values: does the first line hold the headers?"
    raise UserError(f"{option}: the table has no column {header!r}.{hint}")


def _sizes(values: pd.Series) -> dict[str, int]:
    """Count the rows of each value, the most frequent first; variants in case count as one."""
    spelled = text(values).rename("value").value_counts().reset_index(name="rows")
    groups = spelled.groupby(spelled["value"].str.casefold(), sort=False)
    sizes = groups.agg({"value": "first", "rows": "sum"}).sort_values("rows", ascending=False, kind="stable")
    return dict(zip(sizes["value"], sizes["rows"].astype(int), strict=True))


def _with_empty(header: str, sizes: Mapping[str, int], empty: int, positive: str) -> dict[str, int]:
    """Count empty fields as the other class of a target with one value, if POSITIVE names that value."""
    ((only, rows),) = sizes.items()
    if empty and positive.casefold() == only.casefold():
        return {only: rows, EMPTY if only.casefold() != EMPTY else NO_VALUE: empty}
    fix = "Name another target, or add rows with other outcomes."
    if empty:
        fields = plural(empty, "field is", "fields are")
        fix = f"{fields} empty: if that is the other outcome, add POSITIVE={only!r}. If not: {fix}"
    raise UserError(f"The target {header!r} is constant: all {rows:,} rows with a value have {only!r}. {fix}")


def _multiclass(header: str, sizes: Mapping[str, int], *, numbers: bool) -> Target:
    if len(sizes) > MOST_CLASSES:
        raise UserError(
            f"The target {header!r} has {len(sizes)} values ({_listed(sizes)}), which is too many: classes "
            f"are limited to {MOST_CLASSES}. Merge rare values, or name the one to act on: "
            f"POSITIVE={next(iter(sizes))!r}. To predict a number, use TASK=regression."
        )
    _require_each(header, sizes, numbers=numbers)
    classes, rows = sorted(sizes), sum(sizes.values())
    return Target(header, tuple(classes), tuple(sizes[value] / rows for value in classes))


def _binary(header: str, sizes: Mapping[str, int], positive: str) -> Target:
    """Make a target of two values; without `positive`, one with a typical name, else the rarer one is."""
    named = [value for value in sizes if value.casefold() == positive.casefold()]
    if positive and not named:
        raise UserError(f"POSITIVE={positive} is none of the target's values {', '.join(sorted(sizes))}.")
    typical = [value for value in sizes if value.lower() in YES]
    yes = named[0] if named else typical[0] if len(typical) == 1 else list(sizes)[-1]
    no = next(value for value in sizes if value != yes)
    _require_each(header, sizes)
    share = sizes[yes] / (sizes[yes] + sizes[no])
    return Target(header, (no, yes), (1 - share, share))


def _one_against_the_rest(
    values: pd.Series, header: str, classes: list[str], positive: str, decimal: str
) -> Target:
    """Make a binary target of many values: one of them, or numbers above a limit, are positive."""
    if positive not in classes and not re.fullmatch(ABOVE, positive):
        unknown = f"POSITIVE={positive} is none of them. " if positive else ""
        raise UserError(
            f"The target {header!r} has {len(classes)} values ({_listed(classes)}). {unknown}Name the one to "
            f"act on, POSITIVE={classes[0]!r}, or for numbers a limit, POSITIVE='> 10'. Or use "
            "TASK=multiclass to tell all values apart, or TASK=regression for numbers."
        )
    target = Target(header, (f"not {positive}", positive), (), positive, decimal)
    labels = target.label(values.to_frame())
    labels = labels[~np.isnan(labels)]
    if not len(labels):
        raise UserError(f"POSITIVE={positive!r} needs numbers, but the target {header!r} has none.")
    share = float(labels.mean())
    _require_each(header, {positive: int(labels.sum()), "the rest": int((1 - labels).sum())})
    return replace(target, shares=(1 - share, share))


def _listed(values: Iterable[str]) -> str:
    first, more = list(values)[:MOST_SHOWN], len(list(values)) - MOST_SHOWN
    return ", ".join(map(repr, first)) + (f" and {more} more" if more > 0 else "")


def _require_each(header: str, sizes: Mapping[str, int], *, numbers: bool = False) -> None:
    """Raise a UserError if a class has too few rows."""
    rare = min(sizes, key=sizes.__getitem__)
    if sizes[rare] < LEAST_OF_CLASS:
        fix = f"Add rows: {LEAST_OF_CLASS} or more are needed"
        if len(sizes) > BINARY:
            fix += f", or merge it with another, or name the one to act on: POSITIVE={next(iter(sizes))!r}"
        fix += "; to predict the number itself: TASK=regression" if numbers else ""
        rows = f"{plural(sizes[rare], 'row')} of {sum(sizes.values()):,}"
        raise UserError(f"The target {header!r} is {rare!r} in {rows}, too few for training and test. {fix}.")
