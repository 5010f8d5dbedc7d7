"""How well something tells the label, for each task: what leakage probes go by."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import r2_score, roc_auc_score

from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import BinaryContract, Contract, MulticlassContract, RegressionContract
from fivestage.contract.cost_model import VALUE

CHANCE_ERRORS = 4  # standard errors of a measure of nothing
PARTS = 50  # of a number's range, each with a label of its own


class Area:
    """The area under the ROC curve of one outcome: 1 for what tells the label, 0.5 for what tells nothing."""

    name = shuffled = "ROC-AUC"  # of single features, and of forecasts of shuffled labels
    least = 0.5  # of what tells nothing

    def __init__(self, contract: BinaryContract) -> None:
        self.limit = contract.gates.suspicious_roc_auc  # from which on it is a leak

    def singles(self, values: pd.Series, label: Ints) -> Iterator[tuple[str, float]]:
        """What one feature could tell, by its ways of telling."""
        for reading, numbers, truth in _readings(values, label):
            area = _area(np.asarray(numbers, dtype=np.float64), truth)
            yield reading, max(area, 1 - area)

    def told(self, forecast: Floats, label: Ints) -> float:
        """What forecasts tell."""
        return float(roc_auc_score(label, forecast))

    def chance(self, label: Ints) -> float:
        """How far from `least` chance reaches with so many labels (Hanley and McNeil 1982)."""
        return float(CHANCE_ERRORS / np.sqrt(12 * len(label) * label.mean() * (1 - label.mean())))


class MeanArea:
    """The mean of the areas of each class against the rest."""

    name = shuffled = "ROC-AUC"
    least = 0.5

    def __init__(self, contract: MulticlassContract) -> None:
        self.limit, self.classes = contract.gates.suspicious_roc_auc, len(contract.label.classes)

    def singles(self, values: pd.Series, label: Ints) -> Iterator[tuple[str, float]]:
        told, truth = _told_by_parts(values, np.eye(self.classes)[label])
        yield "", self.told(told, truth.argmax(axis=1))

    def told(self, forecast: Floats, label: Ints) -> float:
        truth = np.eye(self.classes)[label]
        seen = np.flatnonzero((truth.sum(axis=0) > 0) & (truth.sum(axis=0) < len(truth)))
        return float(np.mean([roc_auc_score(truth[:, one], forecast[:, one]) for one in seen]))

    def chance(self, label: Ints) -> float:
        """That of the rarest class, which no mean goes beyond."""
        share = np.bincount(label) / len(label)
        rarest = share[share > 0].min()
        return float(CHANCE_ERRORS / np.sqrt(12 * len(label) * rarest * (1 - rarest)))


class Explained:
    """The share of a number's variance that is explained."""

    name, shuffled, least = "R²", "correlation", 0.0

    def __init__(self, contract: RegressionContract) -> None:
        self.limit = contract.gates.suspicious_r2

    def singles(self, values: pd.Series, label: Floats) -> Iterator[tuple[str, float]]:
        told, truth = _told_by_parts(values, label)
        yield "", float(r2_score(truth, told))

    def told(self, forecast: Floats, label: Floats) -> float:
        """By their correlation: forecasts of noise explain less than nothing."""
        value = forecast[:, VALUE]
        return float(np.corrcoef(value, label)[0, 1]) if value.std() else 0.0

    def chance(self, label: Floats) -> float:
        return float(CHANCE_ERRORS / np.sqrt(len(label)))


Measure = Area | MeanArea | Explained

_MEASURES: Mapping[str, Callable[[Any], Measure]] = {
    "binary": Area,
    "multiclass": MeanArea,
    "regression": Explained,
}


def measure_of(contract: Contract) -> Measure:
    """The measure of a contract's task."""
    return _MEASURES[contract.task](contract)


def _readings(values: pd.Series, label: Ints) -> Iterator[tuple[str, pd.Series, Ints]]:
    """What a feature could tell: its order or, of text, the rate of its value; and whether it is missing."""
    absent = values.isna()
    if absent.any():
        yield " missing", absent, label
    if values.dtype.kind in "fiub":
        yield "", values, label
        return
    half = np.arange(len(values)) % 2 == 0  # a rate is read on other rows than it was learnt on
    rates = pd.Series(label[half]).groupby(values[half].to_numpy()).mean()
    yield "", values[~half].map(rates).fillna(label.mean()), label[~half]


def _told_by_parts(values: pd.Series, target: Floats) -> tuple[Floats, Floats]:
    """The mean label of each part of a feature's values, or of no value, on rows it was not learnt on."""
    if values.dtype.kind in "fiub":
        ranks = values.rank(pct=True)
        parts = np.where(ranks.isna(), PARTS, np.minimum(ranks.fillna(0) * PARTS, PARTS - 1)).astype(int)
    else:
        parts, _ = pd.factorize(values, use_na_sentinel=False)
    half = np.arange(len(values)) % 2 == 0
    columns = target.reshape(len(target), -1)
    counts = np.bincount(parts[half], minlength=parts.max() + 1)
    means = np.column_stack(
        [np.bincount(parts[half], one[half], parts.max() + 1) + one.mean() for one in columns.T]
    ) / (counts[:, None] + 1)
    return means[parts[~half]].reshape(-1, *target.shape[1:]), target[~half]


def _area(values: Floats, truth: Ints) -> float:
    """Area under the ROC curve, missing values below all others (Mann and Whitney 1947)."""
    values, is_true = np.where(np.isnan(values), -np.inf, values), truth.astype(np.bool_)
    positive, negative = np.sort(values[is_true]), np.sort(values[~is_true])
    below, up_to = (int(np.searchsorted(negative, positive, side).sum()) for side in ("left", "right"))
    return float(np.float64(below + up_to) / 2 / (len(positive) * len(negative)))
