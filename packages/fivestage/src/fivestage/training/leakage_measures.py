"""Measures of how well features or forecasts predict the label, for each task; used by leakage probes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import r2_score, roc_auc_score

from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import BinaryContract, Contract, MulticlassContract, RegressionContract
from fivestage.contract.cost_model import VALUE

CHANCE_ERRORS = 4  # standard errors by which a measure without any signal may deviate
BINS = 50  # of a numeric feature, with equal numbers of rows


class RocAuc:
    """Area under the ROC curve of one outcome: 1 for a perfect predictor, 0.5 for a useless one."""

    name = shuffled = "ROC-AUC"  # for single features, and for forecasts of shuffled labels
    no_signal = 0.5  # value of a useless predictor

    def __init__(self, contract: BinaryContract) -> None:
        self.limit = contract.gates.suspicious_roc_auc  # values from here on suggest a leak

    def of_feature(self, values: pd.Series, label: Ints) -> Iterator[tuple[str, float]]:
        """Yield how well one feature predicts the label, by its value and by its absence."""
        for reading, numbers, truth in _readings(values, label):
            area = _area(np.asarray(numbers, dtype=np.float64), truth)
            yield reading, max(area, 1 - area)

    def of_forecast(self, forecast: Floats, label: Ints) -> float:
        """Return how well forecasts predict the label."""
        return float(roc_auc_score(label, forecast))

    def chance(self, label: Ints) -> float:
        """Return the deviation from `no_signal` that chance allows (Hanley and McNeil 1982)."""
        return float(CHANCE_ERRORS / np.sqrt(12 * len(label) * label.mean() * (1 - label.mean())))


class MeanRocAuc:
    """Mean area under the ROC curves of the classes, each against the rest."""

    name = shuffled = "ROC-AUC"
    no_signal = 0.5

    def __init__(self, contract: MulticlassContract) -> None:
        self.limit, self.classes = contract.gates.suspicious_roc_auc, len(contract.label.classes)

    def of_feature(self, values: pd.Series, label: Ints) -> Iterator[tuple[str, float]]:
        means, truth = _bin_means(values, np.eye(self.classes)[label])
        yield "", self.of_forecast(means, truth.argmax(axis=1))

    def of_forecast(self, forecast: Floats, label: Ints) -> float:
        truth = np.eye(self.classes)[label]
        ranked = np.flatnonzero((truth.sum(axis=0) > 0) & (truth.sum(axis=0) < len(truth)))
        return float(np.mean([roc_auc_score(truth[:, one], forecast[:, one]) for one in ranked]))

    def chance(self, label: Ints) -> float:
        """Return the deviation allowed for the rarest class, which bounds that of the mean."""
        share = np.bincount(label) / len(label)
        rarest = share[share > 0].min()
        return float(CHANCE_ERRORS / np.sqrt(12 * len(label) * rarest * (1 - rarest)))


class ExplainedVariance:
    """Share of the label's variance that is explained."""

    name, shuffled, no_signal = "R²", "correlation", 0.0

    def __init__(self, contract: RegressionContract) -> None:
        self.limit = contract.gates.suspicious_r2

    def of_feature(self, values: pd.Series, label: Floats) -> Iterator[tuple[str, float]]:
        means, truth = _bin_means(values, label)
        yield "", float(r2_score(truth, means))

    def of_forecast(self, forecast: Floats, label: Floats) -> float:
        """Return their correlation, because the R² of forecasts without any signal is negative."""
        value = forecast[:, VALUE]
        return float(np.corrcoef(value, label)[0, 1]) if value.std() else 0.0

    def chance(self, label: Floats) -> float:
        return float(CHANCE_ERRORS / np.sqrt(len(label)))


Measure = RocAuc | MeanRocAuc | ExplainedVariance

_MEASURES: Mapping[str, Callable[[Any], Measure]] = {
    "binary": RocAuc,
    "multiclass": MeanRocAuc,
    "regression": ExplainedVariance,
}


def measure_of(contract: Contract) -> Measure:
    """Return the measure for a contract's task."""
    return _MEASURES[contract.task](contract)


def _readings(values: pd.Series, label: Ints) -> Iterator[tuple[str, pd.Series, Ints]]:
    """Yield the predictors that a feature offers: its absence, and its number or (for text) mean label."""
    missing = values.isna()
    if missing.any():
        yield " missing", missing, label
    if values.dtype.kind in "fiub":
        yield "", values, label
        return
    half = np.arange(len(values)) % 2 == 0  # rates are learnt on one half and tested on the other
    rates = pd.Series(label[half]).groupby(values[half].to_numpy()).mean()
    yield "", values[~half].map(rates).fillna(label.mean()), label[~half]


def _bin_means(values: pd.Series, target: Floats) -> tuple[Floats, Floats]:
    """Predict half of the rows by the mean label of their bin in the other half; missing is a bin too."""
    if values.dtype.kind in "fiub":
        ranks = values.rank(pct=True)
        bins = np.where(ranks.isna(), BINS, np.minimum(ranks.fillna(0) * BINS, BINS - 1)).astype(int)
    else:
        bins, _ = pd.factorize(values, use_na_sentinel=False)
    half = np.arange(len(values)) % 2 == 0
    columns = target.reshape(len(target), -1)
    counts = np.bincount(bins[half], minlength=bins.max() + 1)
    means = np.column_stack(
        [np.bincount(bins[half], column[half], bins.max() + 1) + column.mean() for column in columns.T]
    ) / (counts[:, None] + 1)
    return means[bins[~half]].reshape(-1, *target.shape[1:]), target[~half]


def _area(values: Floats, truth: Ints) -> float:
    """Return the area under the ROC curve; missing values rank lowest (Mann and Whitney 1947)."""
    values, is_true = np.where(np.isnan(values), -np.inf, values), truth.astype(np.bool_)
    positive, negative = np.sort(values[is_true]), np.sort(values[~is_true])
    below, up_to = (int(np.searchsorted(negative, positive, side).sum()) for side in ("left", "right"))
    return float(np.float64(below + up_to) / 2 / (len(positive) * len(negative)))
