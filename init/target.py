"""What is predicted: the positive class, and sentences for a target that cannot work."""

import re
from dataclasses import dataclass
from difflib import get_close_matches

import pandas as pd

from core.errors import UserError
from core.tables import ABOVE, positives, text

YES = ("1", "true", "yes", "y", "t", "bad", "positive", "churned", "fraud", "default", "failed", "malignant")
LEAST_ROWS = 100
LEAST_OF_CLASS = 10
SHOWN = 6
BINARY = 2


@dataclass(frozen=True)
class Target:
    """What is predicted; of the two `classes` the last one counts as positive."""

    header: str
    classes: tuple[str, str]
    shares: tuple[float, float]
    positive: str = ""  # of a target with more than two values: what counts as positive


def find_target(table: pd.DataFrame, header: str, positive: str = "") -> Target:
    """The target column.

    Raises:
        UserError: when nothing can be learnt from it.
    """
    values = table[header]
    counts = text(values).value_counts()
    rows = int(counts.sum())
    if rows == 0:
        raise UserError(
            f"The target {header!r} is empty in every row: name the column that holds the outcome."
        )
    if len(counts) == 1:
        raise UserError(
            f"The target {header!r} is constant: all {rows:,} rows have {counts.index[0]!r}, so there is "
            "nothing to tell apart. Name another target, or bring rows with other outcomes too."
        )
    if rows < LEAST_ROWS:
        raise UserError(
            f"Only {rows} rows have a target, too few: {LEAST_ROWS} are needed to train, validate, compare "
            "and test on rows of their own. Bring more rows."
        )
    classes = [str(one) for one in counts.index]
    if len(classes) > BINARY:
        return _one_against_the_rest(values, header, classes, positive)
    yes = _positive(classes, positive)
    no = next(one for one in classes if one != yes)
    share = float(counts[yes] / rows)
    _require_both(header, {yes: int(counts[yes]), no: int(counts[no])})
    return Target(header, (no, yes), (1 - share, share))


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
    near = get_close_matches(header, headers, 3, 0.5) or headers[:SHOWN]
    raise UserError(f"{what}: the table has no column {header!r}. Did you mean {', '.join(map(repr, near))}?")


def _one_against_the_rest(values: pd.Series, header: str, classes: list[str], positive: str) -> Target:
    """A target of many values by what counts as positive: one of them, or a number above a limit.

    Raises:
        UserError: when that is not said.
    """
    wanted = positive.strip()
    if wanted not in classes and not re.fullmatch(ABOVE, wanted):
        shown = ", ".join(repr(one) for one in classes[:SHOWN])
        more = f" and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
        raise UserError(
            f"The target {header!r} has {len(classes)} values ({shown}{more}); a decision to act or to wait "
            f"needs two. Say which one is acted on, POSITIVE={classes[0]!r}, or for numbers a limit, "
            "POSITIVE='> 10'."
        )
    found = positives(values, wanted).dropna()
    share = float(found.mean())
    _require_both(header, {wanted: int(found.sum()), "the rest": int((1 - found).sum())})
    return Target(header, (f"not {wanted}", wanted), (1 - share, share), wanted)


def _require_both(header: str, sizes: dict[str, int]) -> None:
    rare = min(sizes, key=sizes.__getitem__)
    if sizes[rare] < LEAST_OF_CLASS:
        raise UserError(
            f"The target {header!r} is {rare!r} in {sizes[rare]} rows of {sum(sizes.values()):,}, too few to "
            f"learn and to test: bring {LEAST_OF_CLASS} or more."
        )


def _positive(classes: list[str], wanted: str) -> str:
    """The class that is acted on: the one named, the one whose name says so, else the rarer one."""
    if wanted:
        if wanted not in classes:
            raise UserError(f"POSITIVE={wanted} is none of the target's values {', '.join(sorted(classes))}.")
        return wanted
    said = [one for one in classes if one.lower() in YES]
    return said[0] if len(said) == 1 else classes[-1]
