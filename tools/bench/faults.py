"""Realistic faults of a feature, injected into real rows; seeded, and for any table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from fivestage.common.columns import Ints
from fivestage.contract.contract import Contract, RegressionContract
from fivestage.evaluation.daily import Column, Floats
from fivestage.monitoring.daily_statistics import Window

Draw = np.random.Generator
Change = Callable[[pd.Series, pd.Series, Draw], pd.Series]  # of a column, given the reference's
COLUMNS = 6
KNOWN = 0.95  # least share of known values in a column for faults
MILES = 1.609
NOON = 0.5  # of a day's rows


@dataclass(frozen=True)
class Fault:
    """A fault: it changes the rows of a window, given the reference."""

    name: str
    where: str
    columns: tuple[str, ...]
    put: Callable[[Window, pd.DataFrame, Draw], Window]
    gross: bool = True


def faults(usual: pd.DataFrame, day: Ints) -> Iterator[Fault]:
    """Yield all faults, on text columns and on some numeric columns that vary within a day."""
    numbers = [str(name) for name in usual if pd.api.types.is_numeric_dtype(usual[name])]
    texts = [str(name) for name in usual if str(name) not in numbers]
    varying = usual[numbers].groupby(day).nunique().median() > 1
    full = [name for name in numbers if varying[name] and usual[name].notna().mean() > KNOWN]
    some = [full[place] for place in np.unique(np.linspace(0, len(full) - 1, COLUMNS).round().astype(int))]
    of_numbers: dict[str, tuple[bool, Change]] = {
        "mean + 0.25 sd": (False, partial(_shifted, size=0.25)),
        "mean + 0.5 sd": (False, partial(_shifted, size=0.5)),
        "20 points missing": (True, partial(_replaced, by=None)),
        "unit, x 1.609": (True, lambda values, _usual, _draw: values * MILES),
        "unit, x 1000": (True, lambda values, _usual, _draw: values * 1000),
        "sign": (True, lambda values, _usual, _draw: -values),
        "a default, 0, in 20%": (True, partial(_replaced, by=0.0)),
        "rounded to a tenth of its sd": (False, _rounded),
        "values in another order": (False, lambda values, _, draw: _same(values, draw.permutation(values))),
    }
    for name in some:
        for fault, (gross, change) in of_numbers.items():
            yield Fault(fault, name, (name,), _of_column(name, change), gross)
        yield Fault("stale, one value a day", name, (name,), partial(_stale, name=name, begin=0.0))
        yield Fault("stale from noon on", name, (name,), partial(_stale, name=name, begin=NOON))
    for name in texts:
        for points in (0.05, 0.1):
            fault = f"a level + {100 * points:.0f} points"
            put = _of_column(name, partial(_shared, points=points))
            yield Fault(fault, name, (name,), put, gross=False)
        yield Fault("other letter case", name, (name,), _of_column(name, _lower))
        yield Fault("half of a level's rows lost", name, (name,), partial(_half_level, name=name))
        yield Fault("a level renamed", name, (name,), _of_column(name, _renamed))
    for one, other in (*zip(some[::2], some[1::2], strict=False), *_alike(usual[full])):
        yield Fault("swapped", f"{one}, {other}", (one, other), partial(_swap, one=one, other=other))
    yield Fault("30% of the rows twice", "", (), _repeated)
    yield Fault("half of the rows lost", "", (), _lost)


def touched(before: Window, after: Window) -> Floats:
    """Return the share of each day's rows that a fault changed; 1 if it added or removed rows."""
    if len(before.frame) != len(after.frame):
        return np.ones(before.days)
    same = (before.frame == after.frame) | (before.frame.isna() & after.frame.isna())
    other = ~same.to_numpy().all(axis=1)
    of_day = np.asarray(before.day) - before.first
    rows = np.bincount(of_day, minlength=before.days)
    return np.asarray(np.bincount(of_day, other, before.days) / np.maximum(rows, 1), dtype=np.float64)


def _of_column(name: str, change: Change) -> Callable[[Window, pd.DataFrame, Draw], Window]:
    def put(window: Window, usual: pd.DataFrame, draw: Draw) -> Window:
        return _with(window, {name: change(window.frame[name], usual[name], draw)})

    return put


def _with(window: Window, columns: dict[str, pd.Series]) -> Window:
    return Window(window.frame.assign(**columns), window.day, window.first, window.days)


def _of_rows(window: Window, rows: Ints) -> Window:
    day: Column = np.asarray(window.day)[rows]
    return Window(window.frame.iloc[rows].reset_index(drop=True), day, window.first, window.days)


def _same(values: pd.Series, changed: Column) -> pd.Series:
    return pd.Series(changed, index=values.index, name=values.name)


def _shifted(values: pd.Series, usual: pd.Series, _draw: Draw, size: float) -> pd.Series:
    return values + size * usual.std()


def _replaced(values: pd.Series, _usual: pd.Series, draw: Draw, by: float | None) -> pd.Series:
    return values.astype("float64").mask(draw.random(len(values)) < 0.2, np.nan if by is None else by)  # noqa: PLR2004 (a fifth)


def _rounded(values: pd.Series, usual: pd.Series, _draw: Draw) -> pd.Series:
    step = usual.std() / 10
    return (values / step).round() * step


def _second(usual: pd.Series) -> str:
    return str(usual.value_counts().index[1])


def _shared(values: pd.Series, usual: pd.Series, draw: Draw, points: float) -> pd.Series:
    """Raise the share of the second most frequent value by some points."""
    other = (values != _second(usual)).to_numpy()
    takes = other & (draw.random(len(values)) < points / max(float(other.mean()), points))
    return values.mask(takes, _second(usual))


def _lower(values: pd.Series, _usual: pd.Series, _draw: Draw) -> pd.Series:
    return values.str.swapcase()


def _renamed(values: pd.Series, usual: pd.Series, _draw: Draw) -> pd.Series:
    return values.replace(_second(usual), f"{_second(usual)}-2")


def _stale(window: Window, _usual: pd.DataFrame, _draw: Draw, name: str, begin: float) -> Window:
    """A feed that stops at some row of each day and repeats its last value until the day's end."""
    by_day = window.frame[name].groupby(np.asarray(window.day))
    late = by_day.cumcount() > begin * by_day.transform("size")
    return _with(window, {name: window.frame[name].mask(late).groupby(np.asarray(window.day)).ffill()})


def _swap(window: Window, _usual: pd.DataFrame, _draw: Draw, one: str, other: str) -> Window:
    return _with(window, {one: window.frame[other], other: window.frame[one]})


def _alike(usual: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the two columns with the most similar distributions, such as two columns in the same unit."""
    deciles = usual.quantile(np.arange(1, 10) / 10).to_numpy()
    scale = np.maximum(usual.std().to_numpy(), 1e-9)
    distances = np.abs(deciles[:, :, None] - deciles[:, None, :]).max(axis=0) / np.minimum.outer(scale, scale)
    distances[np.tril_indices_from(distances)] = np.inf
    one, other = np.unravel_index(distances.argmin(), distances.shape)
    return [(str(usual.columns[one]), str(usual.columns[other]))]


def _repeated(window: Window, _usual: pd.DataFrame, draw: Draw) -> Window:
    """Duplicate some rows."""
    times = 1 + (draw.random(len(window.frame)) < 0.3)  # noqa: PLR2004 (as the fault is named)
    return _of_rows(window, np.repeat(np.arange(len(window.frame)), times))


def _lost(window: Window, _usual: pd.DataFrame, draw: Draw) -> Window:
    return _of_rows(window, np.flatnonzero(draw.random(len(window.frame)) < 0.5))  # noqa: PLR2004 (half)


def _half_level(window: Window, usual: pd.DataFrame, draw: Draw, name: str) -> Window:
    lost = (window.frame[name] == _second(usual[name])).to_numpy() & (draw.random(len(window.frame)) < 0.5)  # noqa: PLR2004
    return _of_rows(window, np.flatnonzero(~lost))


# --- labels -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelFault:
    """A change of labels with unchanged inputs; it depends on the rows, and on the named columns."""

    name: str
    put: Callable[[pd.DataFrame, Column, Draw], Column]
    columns: tuple[str, ...] = ()


def label_faults(contract: Contract, usual: pd.DataFrame, label: Column, column: str) -> Iterator[LabelFault]:
    """Yield a higher label rate, and a concept drift at a constant rate.

    `learnt` is the column of the concept drift: labels rise above its median and fall below it.
    """
    middle = float(usual[column].median())
    if isinstance(contract, RegressionContract):
        unit = float(np.std(label))
        for size in (0.1, 0.25):

            def raised(_: pd.DataFrame, truth: Column, _draw: Draw, by: float = size * unit) -> Column:
                return np.asarray(truth) + by

            yield LabelFault(f"label + {size:g} sd", raised)
        for size in (0.25, 0.5):

            def tilted(frame: pd.DataFrame, truth: Column, _draw: Draw, by: float = size * unit) -> Column:
                return np.asarray(truth) + np.where(frame[column] > middle, by, -by)

            yield LabelFault(f"concept: along {column} by {size:g} sd", tilted, (column,))
        return
    rest = int(np.bincount(np.asarray(label, dtype=np.int64)).argmax())
    level = 1 if rest != 1 else 0
    for points in (0.05, 0.1):

        def more(_: pd.DataFrame, truth: Column, draw: Draw, by: float = points) -> Column:
            return _moved(truth, np.ones(len(truth), dtype=bool), level, by, draw)

        yield LabelFault(f"label rate + {100 * points:.0f} points", more)
    for points in (0.1, 0.2):

        def turned(frame: pd.DataFrame, truth: Column, draw: Draw, by: float = points) -> Column:
            above = (frame[column] > middle).to_numpy()
            risen = _moved(truth, above, level, by, draw)
            return _fallen(risen, ~above, (level, rest), float(by * above.mean()), draw)

        yield LabelFault(
            f"concept: + {100 * points:.0f} points above the median of {column}, rate as before",
            turned,
            (column,),
        )


def _moved(truth: Column, where: Column, level: int, points: float, draw: Draw) -> Column:
    """Set a share of other labels to a level, `points` of the rows `where`."""
    other = where & (truth != level)
    chance = min(1.0, points * max(int(where.sum()), 1) / max(int(other.sum()), 1))
    return np.where(other & (draw.random(len(truth)) < chance), level, truth)


def _fallen(truth: Column, where: Column, levels: tuple[int, int], share: float, draw: Draw) -> Column:
    """Set labels of one level to another, `share` of all rows."""
    level, rest = levels
    some = where & (truth == level)
    chance = min(1.0, share * len(truth) / max(int(some.sum()), 1))
    return np.where(some & (draw.random(len(truth)) < chance), rest, truth)
