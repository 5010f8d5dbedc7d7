"""The models that are tried: add or change a scikit-learn estimator here, one entry each.

Estimators see the features of `problem/features.py` by name, as numbers: text as the place of its value among
those of training, the most frequent first, and missing values as NaN. All are compared on the same temporal
folds, calibrated, held against the gates and served by the same artifact: docs/how-to/add-a-candidate.md.
"""

from collections.abc import Sequence
from typing import Any

from sklearn.ensemble import HistGradientBoostingClassifier


def candidates(rows: int, text: Sequence[str]) -> dict[str, Any]:
    """Unfitted estimators by name; the folds choose among them, and how many trees of `max_iter` are best.

    Args:
        rows: how many there are to learn from.
        text: the names of the features that are text.
    """
    del rows, text  # of use where there are few rows, or for one-hot encoding
    return {
        # of the first, 75, 125 and 150 trees did worse on the folds; the second is a quick one
        "boosting, 15 leaves at rate 0.1": boosting(learning_rate=0.1, max_leaf_nodes=15, max_iter=100),
        "boosting, 31 leaves at rate 0.2": boosting(learning_rate=0.2, max_leaf_nodes=31, max_iter=25),
        # another one is a line like this, "random forest" and RandomForestClassifier(300, random_state=0)
    }


def boosting(**settings: Any) -> HistGradientBoostingClassifier:
    """Gradient boosting over histograms, with nothing left to chance."""
    return HistGradientBoostingClassifier(
        min_samples_leaf=100,
        l2_regularization=1.0,
        categorical_features=None,
        early_stopping=False,
        random_state=0,
        **settings,
    )
