"""What any model must beat: the rate, a lookup of rates, a line through the features."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import BaselineName
from fivestage.training.sample import TrainingSample

LOOKUP_PRIOR = 20.0  # rows that a rate needs before it outweighs the overall one
LINE_ROWS = 60_000  # the most recent ones; more did not move its scores


def prior(sample: TrainingSample, train: Ints, rows: Ints) -> Floats:
    """The mean of the training rows, for everybody."""
    target = sample.target
    return np.full((len(rows), *target.shape[1:]), target[train].mean(axis=0))


def historical(sample: TrainingSample, train: Ints, rows: Ints) -> Floats:
    """The training mean of the row's group, drawn to the overall mean where the group is small."""
    target = sample.target
    overall = target[train].mean(axis=0)
    group = sample.keys.groupby(list(sample.keys), sort=False).ngroup().to_numpy()
    groups = group.max() + 1
    seen = np.bincount(group[train], minlength=groups)
    columns = target.reshape(len(target), -1)
    total = np.column_stack([np.bincount(group[train], column[train], groups) for column in columns.T])
    mean = (total + LOOKUP_PRIOR * overall) / (seen + LOOKUP_PRIOR)[:, None]
    return np.asarray(mean[group[rows]].reshape(len(rows), *target.shape[1:]), dtype=np.float64)


def line(model: Any) -> Any:
    """A line through standardised features, missing ones at their median and flagged."""
    return make_pipeline(SimpleImputer(strategy=_median, add_indicator=True), StandardScaler(), model)


def _median(values: Floats) -> float:
    """The median of a column's values; the imputer's own masks arrays, which takes six times as long."""
    return float(np.median(values)) if values.size else np.nan


def logistic_regression(sample: TrainingSample, train: Ints, rows: Ints) -> Floats:
    """Log-odds as a line; classes that training has not seen have no chance."""
    recent = train[-LINE_ROWS:]
    fitted = line(LogisticRegression(solver="newton-cholesky"))  # many rows, few features
    fitted.fit(sample.features[recent], sample.label[recent])
    chance = fitted.predict_proba(sample.features[rows])
    if not sample.classes:
        return np.asarray(chance[:, 1], dtype=np.float64)
    found = np.zeros((len(rows), sample.classes))
    found[:, fitted.classes_] = chance
    return found


def linear_regression(sample: TrainingSample, train: Ints, rows: Ints) -> Floats:
    """The label as a line, drawn a little to its mean so that it bears features that say the same."""
    recent = train[-LINE_ROWS:]
    fitted = line(Ridge()).fit(sample.features[recent], sample.label[recent])
    return np.asarray(fitted.predict(sample.features[rows]), dtype=np.float64)


BASELINES: dict[BaselineName, Callable[[TrainingSample, Ints, Ints], Floats]] = {
    "prior": prior,
    "historical_rate": historical,
    "historical_mean": historical,
    "logistic_regression": logistic_regression,
    "linear_regression": linear_regression,
}
