"""What any model must beat: the rate, a lookup of rates, a line through the features."""

from collections.abc import Callable

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from core.columns import Floats, Ints
from core.contract import BaselineName, Contract
from monitoring.metrics import scores
from steps.data.split import Windows
from steps.model.sample import Sample

LOOKUP_PRIOR = 20.0  # rows that a rate needs before it outweighs the overall one
LOGISTIC_ROWS = 60_000  # the most recent ones; more did not move its scores


def prior(sample: Sample, train: Ints, rows: Ints) -> Floats:
    """The rate of the training rows, for everybody."""
    return np.full(len(rows), sample.label[train].mean())


def historical_rate(sample: Sample, train: Ints, rows: Ints) -> Floats:
    """The training rate of the row's group, drawn to the overall rate where the group is small."""
    overall = sample.label[train].mean()
    group = sample.keys.groupby(list(sample.keys), sort=False).ngroup().to_numpy()
    groups = group.max() + 1
    positive = np.bincount(group[train], sample.label[train], groups)
    seen = np.bincount(group[train], minlength=groups)
    rate = (positive + LOOKUP_PRIOR * overall) / (seen + LOOKUP_PRIOR)
    return np.asarray(rate[group[rows]], dtype=np.float64)


def logistic_regression(sample: Sample, train: Ints, rows: Ints) -> Floats:
    """A line through standardised features, missing ones at their median and flagged."""
    recent = train[-LOGISTIC_ROWS:]
    line = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True),
        StandardScaler(),
        LogisticRegression(solver="newton-cholesky"),  # many rows, few features
    )
    line.fit(sample.features[recent], sample.label[recent])
    return np.asarray(line.predict_proba(sample.features[rows])[:, 1], dtype=np.float64)


BASELINES: dict[BaselineName, Callable[[Sample, Ints, Ints], Floats]] = {
    "prior": prior,
    "historical_rate": historical_rate,
    "logistic_regression": logistic_regression,
}


def baseline_savings(sample: Sample, windows: Windows, contract: Contract) -> dict[BaselineName, float]:
    """The share of the possible savings that each baseline of the contract brings in the contest window."""
    label = sample.label[windows.contest]
    return {
        name: scores(label, BASELINES[name](sample, windows.train, windows.contest), contract.costs)[
            "savings_share"
        ]
        for name in contract.baselines
    }
