"""Any scikit-learn estimator as a model: fitted, and asked for raw scores.

Raw scores are its decision function where it has one, else the log-odds of its probabilities; of numbers, its
predictions.
"""

from collections.abc import Callable, Iterator, Mapping
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

UNSEEN_WEIGHT = 1e-3  # of a class that training does not have, in rows
QUANTILES: dict[
    str, Callable[[float], dict[str, Any]]
] = {  # settings that make an estimator one of a quantile
    "HistGradientBoostingRegressor": lambda level: {"loss": "quantile", "quantile": level},
    "GradientBoostingRegressor": lambda level: {"loss": "quantile", "alpha": level},
    "LGBMRegressor": lambda level: {"objective": "quantile", "alpha": level},
    "XGBRegressor": lambda level: {"objective": "reg:quantileerror", "quantile_alpha": level},
    "QuantileRegressor": lambda level: {"quantile": level},
}


def fit_classifier(estimator: Estimator, features: Features, label: Any, classes: int = 0) -> Estimator:
    """A fitted clone; of several classes it knows all, seen or not."""
    model = clone(estimator)
    absent = np.setdiff1d(np.arange(classes), label)
    if not absent.size:
        return model.fit(_filled(features), label)
    unseen = np.full((absent.size, features.shape[1]), np.nan)
    both: Features = np.vstack([np.asarray(features), unseen])
    if isinstance(features, pd.DataFrame):
        both = pd.DataFrame(both, columns=features.columns)
    weight = np.append(np.ones(len(label)), np.full(absent.size, UNSEEN_WEIGHT))
    prefix, last = _last_of(model)
    weights = {f"{prefix}sample_weight": weight} if has_fit_parameter(last, "sample_weight") else {}
    return model.fit(_filled(both), np.append(label, absent), **weights)


def fit_regressor(estimator: Estimator, features: Features, label: Floats) -> Estimator:
    """A fitted clone of a regressor, or of a pipeline that ends in one."""
    return clone(estimator).fit(_filled(features), label)


def quantile_of(estimator: Estimator, level: float) -> Estimator | None:
    """The estimator made to learn a quantile of its label; None where it has no such setting."""
    prefix, last = _last_of(estimator)
    settings = QUANTILES.get(type(last).__name__)
    if settings is None:
        return None
    named = {f"{prefix}{name}": value for name, value in settings(level).items()}
    return clone(estimator).set_params(**named)


def scores_of_classes(model: Estimator, features: Features) -> Floats:
    """Raw scores of a fitted classifier."""
    match type(model).__name__:
        case "LGBMClassifier":
            found = model.predict(features, raw_score=True)
        case "XGBClassifier":
            found = model.predict(features, output_margin=True)
        case _ if hasattr(model, "decision_function"):
            found = model.decision_function(features)
        case _:
            return log_odds(np.asarray(model.predict_proba(features), dtype=np.float64))
    return np.asarray(found, dtype=np.float64)


def count_setting(estimator: Estimator) -> str:
    """The name of the setting that says how many trees are added one after another; empty for others."""
    if not (hasattr(estimator, "staged_decision_function") or hasattr(estimator, "staged_predict")):
        return ""
    return "max_iter" if "max_iter" in estimator.get_params() else "n_estimators"


def takes_any_columns(estimator: Estimator) -> bool:
    """Whether no setting of it names features, so that it may be fitted without some of them.

    It is asked of boosting over histograms alone, which spends as much on a column without values as on any.
    """
    if not type(estimator).__name__.startswith("HistGradientBoosting"):
        return False
    found = estimator.get_params()
    return found["categorical_features"] in (None, "from_dtype") and not (
        found["monotonic_cst"] or found["interaction_cst"]
    )


def staged_scores(model: Estimator, features: Features, *, classifier: bool) -> Iterator[Floats]:
    """Raw scores after each tree of a model that has `count_setting`."""
    if not classifier:
        yield from model.staged_predict(features)
        return
    for found in model.staged_decision_function(features):
        yield found.ravel() if found.ndim > 1 and found.shape[1] == 1 else found


def with_settings(estimator: Estimator, settings: Mapping[str, Any]) -> Estimator:
    """An unfitted clone with some settings changed."""
    return clone(estimator).set_params(**settings)


def settings_of(estimator: Estimator) -> dict[str, Any]:
    """The settings of an estimator, or of a pipeline's last step, for the record."""
    return dict(_last_of(estimator)[1].get_params(deep=False))


def quick_estimator(*, classifier: bool) -> Estimator:
    """A few trees, to see whether there is anything to learn at all."""
    kind = HistGradientBoostingClassifier if classifier else HistGradientBoostingRegressor
    return kind(max_iter=20, max_leaf_nodes=31, min_samples_leaf=20, early_stopping=False, random_state=0)


def _last_of(estimator: Estimator) -> tuple[str, Estimator]:
    """What names the settings of the last step of a pipeline, and that step; of others, the estimator."""
    prefix = ""
    while hasattr(estimator, "steps"):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return prefix, estimator


def _filled(features: Features) -> Features:
    """Without columns that have no value at all, which scikit-learn cannot learn from."""
    if not isinstance(features, pd.DataFrame):
        return fill_empty_columns(features)
    return pd.DataFrame(fill_empty_columns(features.to_numpy()), columns=features.columns, copy=False)
