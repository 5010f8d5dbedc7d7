"""The candidate models: scikit-learn estimators, one entry each, to add or change here.

Estimators receive the features of `problem/features.py` by name, as numbers: a text as the rank of its value
by frequency in training, a missing value as NaN. All candidates are compared on the same temporal folds,
calibrated, checked by the gates and served by the same artifact: see docs/how-to/add-a-candidate.md.
"""

from collections.abc import Sequence
from typing import Any

from sklearn.ensemble import HistGradientBoostingClassifier


def candidates(rows: int, text: Sequence[str]) -> dict[str, Any]:
    """Unfitted estimators by name; the folds decide which is best, and with how many trees up to `max_iter`.

    Args:
        rows: number of training rows.
        text: names of the text features.
    """
    del rows, text  # useful for small tables, or for one-hot encoding
    return {
        # With 75, 125 and 150 trees, the first was worse on the folds; the second is fast to train.
        "boosting, 15 leaves at rate 0.1": boosting(learning_rate=0.1, max_leaf_nodes=15, max_iter=100),
        "boosting, 31 leaves at rate 0.2": boosting(learning_rate=0.2, max_leaf_nodes=31, max_iter=25),
        # Add others as lines like these: "random forest" with RandomForestClassifier(300, random_state=0)
    }


def boosting(**settings: Any) -> HistGradientBoostingClassifier:
    """Gradient boosting over histograms, with a fixed random state."""
    return HistGradientBoostingClassifier(
        min_samples_leaf=100,
        l2_regularization=1.0,
        categorical_features=None,
        early_stopping=False,
        random_state=0,
        **settings,
    )
