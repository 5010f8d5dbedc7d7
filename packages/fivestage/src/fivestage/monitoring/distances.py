"""How far one window of days lies from another, column by column.

A column becomes a histogram: a category's levels, or bins cut at the reference's deciles. The distance of
two histograms is that of Jensen and Shannon, as Evidently and SciPy report it: 0 for the same, 0.83 for no
overlap. All comes from counts by day, so that a resample of days is a product of matrices.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fivestage.evaluation.daily import SMALLEST, Column, Floats, side_by_side, sums

DECILES = np.arange(1, 10) / 10
MARGIN = 0.15  # of the reference's range, beyond which a number is unlike any seen
MAX_LEVELS = 50
MISSING = -1

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class WindowCounts:
    """Rows of `days` whole days from day `first` on; `day` is each row's own, days without rows count too."""

    frame: pd.DataFrame
    day: Column
    first: int
    days: int

    def __post_init__(self) -> None:
        if len(self.frame) != len(self.day):
            raise ValueError(f"{len(self.frame)} rows, but {len(self.day)} days")
        if ((self.day < self.first) | (self.day >= self.first + self.days)).any():
            raise ValueError(f"a row's day lies outside the {self.days} days from {self.first}")


@dataclass(frozen=True)
class Binning:
    """How a column's values become the cells of a histogram; `unseen` cells are empty in the reference."""

    column: str
    labels: tuple[str, ...]
    unseen: tuple[int, ...]
    edges: Floats | None = None
    levels: tuple[str, ...] = ()

    def codes(self, values: pd.Series) -> Codes:
        """The cell of each value, or MISSING; infinities and text in a number column are missing."""
        if self.edges is None:
            text = values.astype("string")
            code = pd.Index(self.levels, dtype="string").get_indexer(pd.Index(text))
            code = np.where(code < 0, len(self.labels) - 1, np.minimum(code, MAX_LEVELS))
            return np.where(text.isna(), MISSING, code).astype(np.int64)
        number = numbers(values)
        code = np.searchsorted(self.edges, number, side="left")
        return np.where(np.isfinite(number), code, MISSING).astype(np.int64)


@dataclass(frozen=True)
class HistogramCounts:
    """Histograms of single days, or of sums of days: one or the other is the first axis of every array.

    `cells` holds the cells of all columns side by side, each column's from its `starts` on; `missing` has
    one number a column.
    """

    starts: Codes
    cells: Floats
    missing: Floats
    rows: Floats
    days: Floats

    def weighted(self, weight: Floats) -> "HistogramCounts":
        """Sums of days, one for each row of `weight` (sums, days)."""
        parts = (self.cells, self.missing, self.rows, self.days)
        return HistogramCounts(self.starts, *(weight @ part for part in parts))

    def of_days(self, which: Codes) -> "HistogramCounts":
        """The counts of some of the days."""
        parts = (self.cells, self.missing, self.rows, self.days)
        return HistogramCounts(self.starts, *(part[which] for part in parts))

    @property
    def known(self) -> Floats:
        """Rows with a value (sums, columns)."""
        return np.add.reduceat(self.cells, self.starts, axis=-1)

    @property
    def shares(self) -> Floats:
        """Each cell's share of its column's values (sums, cells)."""
        widths = np.diff(np.append(self.starts, self.cells.shape[-1]))
        return _ratio(self.cells, np.repeat(self.known, widths, axis=-1))

    @property
    def missing_share(self) -> Floats:
        """The share of rows without a value (sums, columns)."""
        return _ratio(self.missing, self.rows[..., None])

    @property
    def rows_a_day(self) -> Floats:
        """Rows a day (sums,), at least one in all so that it has a logarithm."""
        return np.maximum(self.rows, 1) / self.days


def bin_column(values: pd.Series) -> Binning:
    """The binning of a column by its reference values.

    A number that fills a tenth of the column and more, such as a zero, has a cell of its own, so that losing
    it shows. The 50 most frequent levels of a category are kept; the others share a cell.
    """
    name = str(values.name)
    if not pd.api.types.is_numeric_dtype(values):
        levels = tuple(values.astype("string").value_counts().index)
        rare = ("(rare)",) if len(levels) > MAX_LEVELS else ()
        labels = (*levels[:MAX_LEVELS], *rare, "(unseen)")
        return Binning(name, labels, (len(labels) - 1,), None, levels)
    number = numbers(values)
    number = number[np.isfinite(number)]
    if number.size == 0:
        return Binning(name, ("(unseen)",), (0,), np.empty(0))
    margin = MARGIN * float(np.ptp(number))
    bounds = [np.nextafter(number.min() - margin, -np.inf), number.max() + margin]
    deciles, times = np.unique(np.quantile(number, DECILES, method="lower"), return_counts=True)
    atoms = deciles[times > 1]
    edges = np.unique(np.concatenate([bounds, deciles, np.nextafter(atoms, -np.inf)]))
    return Binning(name, _labels(edges, set(atoms.tolist())), (0, edges.size), edges)


def count_days(window: WindowCounts, binnings: tuple[Binning, ...]) -> HistogramCounts:
    """Histograms of each day of a window."""
    of_day = np.asarray(window.day, dtype=np.int64) - window.first
    cells, missing = [], []
    for binning in binnings:
        code = binning.codes(window.frame[binning.column])
        width, known = len(binning.labels), code != MISSING
        flat = sums(of_day[known] * width + code[known], np.ones(int(known.sum())), window.days * width)
        cells.append(flat.reshape(window.days, width))
        missing.append(sums(of_day, ~known, window.days))
    return HistogramCounts(
        starts=np.cumsum([0, *(len(binning.labels) for binning in binnings[:-1])])[: len(binnings)],
        cells=side_by_side(cells, window.days),
        missing=side_by_side(missing, window.days),
        rows=sums(of_day, np.ones(of_day.size), window.days),
        days=np.ones(window.days),
    )


def jensen_shannon(one: HistogramCounts, other: HistogramCounts) -> Floats:
    """Distances of the histograms (sums, columns); 0 where a side has no values."""
    shares, others = one.shares, other.shares
    lost = (_surprise(shares) + _surprise(others)) / 2 - _surprise((shares + others) / 2)
    distance = np.sqrt(np.maximum(np.add.reduceat(lost, one.starts, axis=-1), 0))
    return np.where((one.known > 0) & (other.known > 0), distance, 0)


def debiased(one: HistogramCounts, other: HistogramCounts) -> Floats:
    """The distances without what the number of rows alone makes of them, so that windows of any size compare.

    For n and m independent rows in k cells the divergence has a mean of (k - 1) (1 / n + 1 / m) / 8.
    """
    return np.sqrt(np.maximum(jensen_shannon(one, other) ** 2 - noise(one, other), 0))


def noise(one: HistogramCounts, other: HistogramCounts) -> Floats:
    """The mean squared distance (sums, columns) of that many independent rows from the same distribution."""
    widths = np.diff(np.append(one.starts, one.cells.shape[-1]))
    share = 1 / np.maximum(one.known, 1) + 1 / np.maximum(other.known, 1)
    return np.asarray((widths - 1) * share / 8, dtype=np.float64)


def _surprise(share: Floats) -> Floats:
    return share * np.log(np.maximum(share, SMALLEST))


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.asarray(part / np.maximum(whole, 1), dtype=np.float64)


def numbers(values: pd.Series) -> Floats:
    """A column as numbers; what is none is NaN."""
    known = values if pd.api.types.is_numeric_dtype(values) else pd.to_numeric(values, errors="coerce")
    return known.to_numpy(dtype=np.float64, na_value=np.nan)


def _labels(edges: Floats, atoms: set[float]) -> tuple[str, ...]:
    names = [f"under {edges[0]:.5g}"]
    for low, high in pairwise(edges):
        names.append(f"{high:.5g}" if high in atoms else f"{low:.5g} to {high:.5g}")
    names.append(f"over {edges[-1]:.5g}")
    return tuple(names)
