"""Candidate models: add or change a scikit-learn estimator here, one entry each.

Estimators get the features of `problem/features.py` by name, as numbers: a category as the frequency rank of
its value in the training data, missing values as NaN. All are compared on the same temporal folds,
calibrated, checked by the gates and served by the same artifact: docs/how-to/add-a-candidate.md.
"""

from collections.abc import Sequence
from typing import Any

from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

LARGE = 20_000  # rows from which on larger trees are worth the time


def candidates(rows: int, text: Sequence[str]) -> dict[str, Any]:
    """Return unfitted estimators by name, cheap ones first; large tables get larger trees.

    Args:
        rows: Number of training rows.
        text: Names of the categorical features.
    """
    leaf = max(5, min(100, rows // 50))  # minimum rows per leaf
    found = {
        "ridge regression": linear(Ridge(), text),
        "boosting, 4 leaves at rate 0.05": boosting(leaf, 0.05, max_leaf_nodes=4, max_iter=200),
        "boosting, 15 leaves at rate 0.1": boosting(leaf, 0.1, max_leaf_nodes=15, max_iter=150),
    }
    if rows >= LARGE:
        found["boosting, 31 leaves at rate 0.1"] = boosting(leaf, 0.1, max_leaf_nodes=31, max_iter=150)
    return found


def linear(model: Any, text: Sequence[str]) -> Any:
    """Build a linear model on standardised, median-imputed numbers and one-hot encoded categories."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    values = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20, sparse_output=False)
    return make_pipeline(make_column_transformer((values, list(text)), remainder=numbers), model)


def boosting(leaf: int, rate: float, **settings: Any) -> HistGradientBoostingRegressor:
    """Build a histogram gradient boosting model with a fixed random seed."""
    return HistGradientBoostingRegressor(
        learning_rate=rate,
        min_samples_leaf=leaf,
        l2_regularization=1.0,
        categorical_features=None,
        early_stopping=False,
        random_state=0,
        **settings,
    )
