"""Rows as models see them: numbers, labels, and what a lookup groups by."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.columns import Floats, Ints
from core.contract import Contract
from core.windows import HOUR
from steps.data.split import Windows
from steps.model.fit import Categories, feature_matrix, learn_categories


@dataclass(frozen=True)
class Sample:
    """All rows of a table; which of them a model may see is said by positions."""

    features: Floats  # rows x names, text as the numbers of `categories`
    names: tuple[str, ...]
    categories: Categories
    keys: pd.DataFrame
    label: Ints


def sample_of(rows: pd.DataFrame, features: pd.DataFrame, windows: Windows, contract: Contract) -> Sample:
    """Rows with their features, text encoded by the training window alone."""
    categories = learn_categories(features.iloc[windows.train])
    return Sample(
        features=feature_matrix(features, categories),
        names=tuple(str(name) for name in features),
        categories=categories,
        keys=lookup_keys(rows, contract),
        label=rows[contract.label.name].to_numpy(dtype=np.int64),
    )


def lookup_keys(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """What the historical-rate lookup groups by: the contract's slices and the hour of the day."""
    hour = (rows[contract.decision.time_column] // HOUR % 24).astype(str)
    return rows[list(contract.slices)].astype(str).fillna("").assign(hour=hour)
