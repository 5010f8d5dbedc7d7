"""Fits any scikit-learn estimator, and computes its raw scores.

Raw scores are a classifier's decision function or, if it has none, the log-odds of its probabilities; of a
regressor they are the predictions.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.utils.validation import has_fit_parameter

from fivestage.artifact.scorer import log_odds
from fivestage.common.columns import Floats, fill_empty_columns

Estimator = Any  # scikit-learn has no type for it
Features = Any  # rows x features: an array, or a data frame with the features' names

ABSENT_WEIGHT = 1e-3  # in rows, of a class that does not occur in training
# The settings with which an estimator learns a quantile.
QUANTILE_SETTINGS: dict[str, Callable[[float], dict[str, Any]]] = {
    "HistGradientBoostingRegressor": lambda level: {"loss": "quantile", "quantile": level},
    "GradientBoostingRegressor": lambda level: {"loss": "quantile", "alpha": level},
    "LGBMRegressor": lambda level: {"objective": "quantile", "alpha": level},
    "XGBRegressor": lambda level: {"objective": "reg:quantileerror", "quantile_alpha": level},
    "QuantileRegressor": lambda level: {"quantile": level},
}


def fit_classifier(estimator: Estimator, features: Features, label: Any, classes: int = 0) -> Estimator:
    """Fit a clone of a classifier; it knows all classes, even those that do not occur in training."""
    model = clone(estimator)
    absent = np.setdiff1d(np.arange(classes), label)
    if not absent.size:
        return model.fit(_filled(features), label)
    empty = np.full((absent.size, features.shape[1]), np.nan)
    extended: Features = np.vstack([np.asarray(features), empty])
    if isinstance(features, pd.DataFrame):
        extended = pd.DataFrame(extended, columns=features.columns)
    weight = np.append(np.ones(len(label)), np.full(absent.size, ABSENT_WEIGHT))
    prefix, last = _last_step(model)
    weights = {f"{prefix}sample_weight": weight} if has_fit_parameter(last, "sample_weight") else {}
    return model.fit(_filled(extended), np.append(label, absent), **weights)


def fit_regressor(estimator: Estimator, features: Features, label: Floats) -> Estimator:
    """Fit a clone of a regressor, or of a pipeline that ends in one."""
    return clone(estimator).fit(_filled(features), label)


def quantile_of(estimator: Estimator, level: float) -> Estimator | None:
    """Return a clone of the estimator that learns a quantile of the label; None if it cannot."""
    prefix, last = _last_step(estimator)
    settings = QUANTILE_SETTINGS.get(type(last).__name__)
    if settings is None:
        return None
    parameters = {f"{prefix}{name}": value for name, value in settings(level).items()}
    return clone(estimator).set_params(**parameters)


def scores_of_classes(model: Estimator, features: Features) -> Floats:
    """Return the raw scores of a fitted classifier: one per row, or rows x classes."""
    match type(model).__name__:
        case "LGBMClassifier":
            scores = model.predict(features, raw_score=True)
        case "XGBClassifier":
            scores = model.predict(features, output_margin=True)
        case _ if hasattr(model, "decision_function"):
            scores = model.decision_function(features)
        case _:
            return log_odds(np.asarray(model.predict_proba(features), dtype=np.float64))
    return np.asarray(scores, dtype=np.float64)


def count_setting(estimator: Estimator) -> str:
    """Return the name of the setting for the number of boosting stages; empty if there are none."""
    if not (hasattr(estimator, "staged_decision_function") or hasattr(estimator, "staged_predict")):
        return ""
    return "max_iter" if "max_iter" in estimator.get_params() else "n_estimators"


def boosting_stages(model: Estimator, features: Features) -> int:
    """Count the boosting stages of a fitted model, which are fewer than its setting if it stopped early."""
    return sum(1 for _ in model.staged_predict(features[:1]))


def takes_any_columns(estimator: Estimator) -> bool:
    """Whether no setting of the estimator refers to features, so that some of them can be left out.

    This only matters for histogram boosting, which spends as much time on a column without values as on any.
    """
    if not type(estimator).__name__.startswith("HistGradientBoosting"):
        return False
    settings = estimator.get_params()
    return settings["categorical_features"] in (None, "from_dtype") and not (
        settings["monotonic_cst"] or settings["interaction_cst"]
    )


def with_settings(estimator: Estimator, settings: Mapping[str, Any]) -> Estimator:
    """Return an unfitted clone with some settings changed."""
    return clone(estimator).set_params(**settings)


def hyperparameters_of(estimator: Estimator) -> dict[str, Any]:
    """Return the settings of an estimator, or of a pipeline's last step, to be recorded."""
    return dict(_last_step(estimator)[1].get_params(deep=False))


def quick_estimator(*, classifier: bool) -> Estimator:
    """Return a small boosting model, to test whether there is anything to learn at all."""
    kind = HistGradientBoostingClassifier if classifier else HistGradientBoostingRegressor
    return kind(max_iter=20, max_leaf_nodes=31, min_samples_leaf=20, early_stopping=False, random_state=0)


def _last_step(estimator: Estimator) -> tuple[str, Estimator]:
    """Return the last step of a pipeline (or the estimator itself), and the prefix of its settings' names."""
    prefix = ""
    while hasattr(estimator, "steps"):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return prefix, estimator


def _filled(features: Features) -> Features:
    """Fill columns that have no value at all, which scikit-learn cannot learn from."""
    if not isinstance(features, pd.DataFrame):
        return fill_empty_columns(features)
    return pd.DataFrame(fill_empty_columns(features.to_numpy()), columns=features.columns, copy=False)
