"""Training data as models see it: encoded features, labels, and grouping keys for the lookup baseline."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fivestage.common.columns import Floats
from fivestage.contract.contract import Contract, MulticlassContract, epoch_of
from fivestage.data.labels import labels_of
from fivestage.data.splits import TemporalSplit, windows_at
from fivestage.features.offline import Categories, feature_matrix, learn_categories
from fivestage.features.stores import HOUR


@dataclass(frozen=True)
class TrainingSample:
    """All rows of a table; the windows say which of them a model may be fitted on."""

    features: Floats  # rows x names, text encoded by `categories`
    names: tuple[str, ...]
    categories: Categories
    keys: pd.DataFrame
    label: Any  # one per row: int64 for binary and multiclass, float64 for regression
    windows: TemporalSplit
    contract: Contract

    @classmethod
    def as_of(
        cls, rows: pd.DataFrame, features: pd.DataFrame, contract: Contract, day: str
    ) -> "TrainingSample":
        """Split the rows into the contract's windows as of a day, and encode them for models.

        Text features are encoded by the training window only.

        Args:
            rows: all rows, with labels, slices, and times in epoch seconds.
            features: rows x features, by name, in the order of `rows`, text as text.
            contract: defines the task, the windows, the label and the slices.
            day: the day on which the holdout window ends, such as `2024-01-31`.

        Returns:
            All rows as models see them: rows x features, float64, with labels and keys in the same order.

        Raises:
            UserError: if a window is empty, or `monitoring.unwatched` in the contract names something that
                is not a feature.
        """
        return training_sample(rows, features, windows_at(rows, contract.split, epoch_of(day)), contract)

    @property
    def classes(self) -> int:
        """The number of classes for multiclass, otherwise 0."""
        return len(self.contract.label.classes) if isinstance(self.contract, MulticlassContract) else 0

    def frame(self, rows: Any) -> pd.DataFrame:
        """Return the encoded features of some rows as a data frame."""
        return self.named(self.features[rows])

    def named(self, values: Floats) -> pd.DataFrame:
        """Return any rows of encoded features as a data frame with the features' names."""
        return pd.DataFrame(values, columns=self.names, copy=False)

    @property
    def target(self) -> Floats:
        """The label as numbers that can be averaged: one-hot (rows x classes) for multiclass."""
        target = np.eye(self.classes)[self.label] if self.classes else self.label
        return np.asarray(target, dtype=np.float64)


def training_sample(
    rows: pd.DataFrame, features: pd.DataFrame, windows: TemporalSplit, contract: Contract
) -> TrainingSample:
    """Encode rows and their features for models, for given windows; see `TrainingSample.as_of`."""
    contract.require_features(features.columns)
    categories = learn_categories(features, windows.train)
    return TrainingSample(
        features=feature_matrix(features, categories),
        names=tuple(str(name) for name in features),
        categories=categories,
        keys=lookup_keys(rows, contract),
        label=labels_of(rows, contract),
        windows=windows,
        contract=contract,
    )


def lookup_keys(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return the keys of the lookup baseline: the contract's slices and the hour of the day."""
    hour = rows[contract.decision.time_column] // HOUR % 24
    return rows[list(contract.slices)].astype(str).fillna("").assign(hour=hour)
