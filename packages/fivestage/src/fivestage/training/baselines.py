"""Baselines that any model must beat: the mean label, mean labels by group, and a linear model."""

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

LOOKUP_PRIOR = 20.0  # rows at which a group's mean weighs as much as the overall mean
LINE_ROWS = 60_000  # most recent rows that the linear model is fitted to; more did not change its scores


def prior(sample: TrainingSample, train: Ints, rows: Ints) -> Floats:
    """Predict the mean of the training rows for every row."""
    target = sample.target
    return np.full((len(rows), *target.shape[1:]), target[train].mean(axis=0))


def historical(sample: TrainingSample, train: Ints, rows: Ints) -> Floats:
    """Predict the training mean of the row's group, shrunk towards the overall mean if the group is small."""
    target = sample.target
    overall = target[train].mean(axis=0)
    group = sample.keys.groupby(list(sample.keys), sort=False).ngroup().to_numpy()
    groups = group.max() + 1
    counts = np.bincount(group[train], minlength=groups)
    columns = target.reshape(len(target), -1)
    total = np.column_stack([np.bincount(group[train], column[train], groups) for column in columns.T])
    mean = (total + LOOKUP_PRIOR * overall) / (counts + LOOKUP_PRIOR)[:, None]
    return np.asarray(mean[group[rows]].reshape(len(rows), *target.shape[1:]), dtype=np.float64)


def line(model: Any) -> Any:
    """Build a linear model on standardised features; missing values are set to the median and flagged."""
    return make_pipeline(SimpleImputer(strategy=_median, add_indicator=True), StandardScaler(), model)


def _median(values: Floats) -> float:
    """Return a column's median; the imputer's own strategy uses masked arrays and is six times slower."""
    return float(np.median(values)) if values.size else np.nan


def logistic_regression(sample: TrainingSample, train: Ints, rows: Ints) -> Floats:
    """Predict with a logistic regression; classes that are absent from training get probability 0."""
    recent = train[-LINE_ROWS:]
    fitted = line(LogisticRegression(solver="newton-cholesky"))  # many rows, few features
    fitted.fit(sample.features[recent], sample.label[recent])
    probabilities = fitted.predict_proba(sample.features[rows])
    if not sample.classes:
        return np.asarray(probabilities[:, 1], dtype=np.float64)
    forecast = np.zeros((len(rows), sample.classes))
    forecast[:, fitted.classes_] = probabilities
    return forecast


def linear_regression(sample: TrainingSample, train: Ints, rows: Ints) -> Floats:
    """Predict with a linear regression, slightly regularised so that it tolerates collinear features."""
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
