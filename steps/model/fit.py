"""Encoders, trees and calibration: from features to the parts of an artifact."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
import treelite
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from core.columns import Floats, Ints, Strings
from serving.artifact import Calibration
from serving.engine import encode, matrix

Categories = dict[str, dict[str, float]]
SEED = 0


@dataclass(frozen=True)
class Trees:
    """Settings of gradient boosting over histograms; `count` is chosen on the folds."""

    learning_rate: float
    leaves: int
    count: int
    min_leaf_rows: int = 100
    l2: float = 1.0

    @property
    def name(self) -> str:
        """How tables call it."""
        return f"boosting, {self.leaves} leaves at rate {self.learning_rate:g}"


FEW_TREES = Trees(learning_rate=0.1, leaves=31, count=20, min_leaf_rows=20, l2=0.0)


def learn_categories(features: pd.DataFrame) -> Categories:
    """A number for each text value, the most frequent first."""
    return {
        str(name): {
            value: float(code) for code, (value, _) in enumerate(Counter(values.dropna()).most_common())
        }
        for name, values in features.items()
        if is_text(values)
    }


def is_text(values: pd.Series) -> bool:
    """Whether a feature is text, which trees see as numbers of its values."""
    return values.dtype.kind in "OUT"


def feature_matrix(features: pd.DataFrame, categories: Categories) -> Floats:
    """Rows x features as numbers, encoded the way the service does it."""
    columns = {
        str(name): _strings(values) if name in categories else values for name, values in features.items()
    }
    return matrix(encode(columns, categories), list(columns), len(features))


def _strings(values: pd.Series) -> Strings:
    codes, known = pd.factorize(values, use_na_sentinel=False)
    return Strings(codes, tuple(known))


def fit_trees(features: Floats, label: Ints, trees: Trees) -> HistGradientBoostingClassifier:
    """Gradient boosting with nothing left to chance."""
    model = HistGradientBoostingClassifier(
        learning_rate=trees.learning_rate,
        max_iter=trees.count,
        max_leaf_nodes=trees.leaves,
        min_samples_leaf=trees.min_leaf_rows,
        l2_regularization=trees.l2,
        early_stopping=False,
        random_state=SEED,
    )
    return model.fit(features, label)


def trees_learn(features: Floats, label: Ints, train: Ints, rows: Ints) -> Floats:
    """What a few trees predict for `rows` after learning the labels of `train`."""
    model = fit_trees(features[train], label[train], FEW_TREES)
    return np.asarray(model.predict_proba(features[rows])[:, 1], dtype=np.float64)


def calibrate(margin: Floats, label: Ints) -> Calibration:
    """Temperature scaling (Guo et al. 2017), learnt on margins of rows that the trees have not seen.

    One number, no offset: the offset that fits one month is that month's weather, and is wrong for the next.
    """
    scaling = LogisticRegression(C=np.inf, fit_intercept=False).fit(margin.reshape(-1, 1), label)
    return Calibration(float(scaling.coef_[0, 0]))


def as_data(model: HistGradientBoostingClassifier) -> bytes:
    """The trees as a treelite checkpoint: data, not code."""
    return bytes(treelite.sklearn.import_model(model).serialize_bytes())
