"""Measures of how well features or forecasts predict the label, for each task; used by leakage probes."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import r2_score, roc_auc_score

from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import BinaryContract, Contract, MulticlassContract, RegressionContract
from fivestage.contract.cost_model import VALUE

CHANCE_ERRORS = 4  # standard errors by which a measure without any signal may deviate
BINS = 50  # of a numeric feature, with equal numbers of rows


class MeanRocAuc:
    """Mean area under the ROC curves of the classes, each against the rest: 1 is perfect, 0.5 useless."""

    name = shuffled = "ROC-AUC"  # for single features, and for forecasts of shuffled labels
    no_signal = 0.5  # value of a useless predictor

    def __init__(self, contract: BinaryContract | MulticlassContract) -> None:
        self.limit = contract.gates.suspicious_roc_auc  # values from here on suggest a leak
        self._classes = len(contract.label.classes) if isinstance(contract, MulticlassContract) else 0

    def of_feature(self, values: pd.Series, label: Ints) -> Iterator[tuple[str, float]]:
        """Yield how well one feature predicts the label, by its absence and by its value."""
        for reading, means in _readings(values, np.eye(self._classes)[label] if self._classes else label):
            yield reading, self.of_forecast(means, label[1::2])

    def of_forecast(self, forecast: Floats, label: Ints) -> float:
        """Return how well forecasts predict the label."""
        if forecast.ndim == 1:
            return float(roc_auc_score(label, forecast))
        places = [place for place in np.unique(label) if not (label == place).all()]
        return float(np.mean([roc_auc_score(label == place, forecast[:, place]) for place in places]))

    def chance(self, label: Ints) -> float:
        """Return the deviation from `no_signal` that chance allows (Hanley and McNeil 1982).

        Of several classes it is that of the rarest, which bounds that of the mean.
        """
        share = np.bincount(label) / len(label)
        rarest = share[share > 0].min()
        return float(CHANCE_ERRORS / np.sqrt(12 * len(label) * rarest * (1 - rarest)))


class ExplainedVariance:
    """Share of the label's variance that is explained."""

    name, shuffled, no_signal = "R²", "correlation", 0.0

    def __init__(self, contract: RegressionContract) -> None:
        self.limit = contract.gates.suspicious_r2

    def of_feature(self, values: pd.Series, label: Floats) -> Iterator[tuple[str, float]]:
        for reading, means in _readings(values, label):
            yield reading, float(r2_score(label[1::2], means))

    def of_forecast(self, forecast: Floats, label: Floats) -> float:
        """Return their correlation, because the R² of forecasts without any signal is negative."""
        value = forecast[:, VALUE]
        return float(np.corrcoef(value, label)[0, 1]) if value.std() else 0.0

    def chance(self, label: Floats) -> float:
        return float(CHANCE_ERRORS / np.sqrt(len(label)))


Measure = MeanRocAuc | ExplainedVariance


def measure_of(contract: Contract) -> Measure:
    """Return the measure for a contract's task."""
    kind: Callable[[Any], Measure] = ExplainedVariance if contract.task == "regression" else MeanRocAuc
    return kind(contract)


def _readings(values: pd.Series, target: Any) -> Iterator[tuple[str, Floats]]:
    """Predict every second row by the mean target of its bin in the other rows.

    The bins are those of the feature's absence, and those of its value, where missing is a bin too.
    """
    missing = values.isna()
    if missing.any():
        yield " missing", _bin_means(np.asarray(missing, dtype=np.int64), target)
    if values.dtype.kind in "fiub":
        ranks = values.rank(pct=True)
        bins: Ints = np.where(missing, BINS, np.minimum(ranks.fillna(0) * BINS, BINS - 1)).astype(np.int64)
    else:
        bins = pd.factorize(values, use_na_sentinel=False)[0]
    yield "", _bin_means(bins, target)


def _bin_means(bins: Ints, target: Any) -> Floats:
    learnt, size = bins[::2], int(bins.max()) + 1
    columns = target.reshape(len(target), -1).T
    total = [np.bincount(learnt, column[::2], size) + column.mean() for column in columns]
    means = np.column_stack(total) / (np.bincount(learnt, minlength=size)[:, None] + 1)
    return np.asarray(means[bins[1::2]].reshape(-1, *target.shape[1:]), dtype=np.float64)
