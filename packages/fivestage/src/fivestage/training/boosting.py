"""Encoders and trees: from features to the parts of an artifact."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import treelite
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from fivestage.common.columns import Floats, Ints, with_values

SEED = 0
UNSEEN_WEIGHT = 1e-3  # of a class that training does not have, in rows


@dataclass(frozen=True)
class BoostingParams:
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


FEW_TREES = BoostingParams(learning_rate=0.1, leaves=31, count=20, min_leaf_rows=20, l2=0.0)


def fit_trees(
    features: Floats, label: Ints, trees: BoostingParams, classes: int = 0
) -> HistGradientBoostingClassifier:
    """Gradient boosting with nothing left to chance; of several classes it knows all, seen or not."""
    model, features = HistGradientBoostingClassifier(**_settings(trees)), with_values(features)
    absent = np.setdiff1d(np.arange(classes), label)
    if not absent.size:
        return model.fit(features, label)
    unseen = np.full((absent.size, features.shape[1]), np.nan)
    weight = np.append(np.ones(len(label)), np.full(absent.size, UNSEEN_WEIGHT))
    return model.fit(np.vstack([features, unseen]), np.append(label, absent), sample_weight=weight)


def fit_regressor(
    features: Floats, label: Floats, trees: BoostingParams, level: float | None = None
) -> HistGradientBoostingRegressor:
    """The same for the mean of a number, or for its quantile at a level."""
    loss = {"loss": "squared_error"} if level is None else {"loss": "quantile", "quantile": level}
    return HistGradientBoostingRegressor(**_settings(trees), **loss).fit(with_values(features), label)


def _settings(trees: BoostingParams) -> dict[str, Any]:
    return {
        "learning_rate": trees.learning_rate,
        "max_iter": trees.count,
        "max_leaf_nodes": trees.leaves,
        "min_samples_leaf": trees.min_leaf_rows,
        "l2_regularization": trees.l2,
        "early_stopping": False,
        "random_state": SEED,
    }


def as_data(model: HistGradientBoostingClassifier | HistGradientBoostingRegressor) -> bytes:
    """The trees as a treelite checkpoint: data, not code."""
    return bytes(treelite.sklearn.import_model(model).serialize_bytes())
