"""Features of every row, as of its decision time."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from core.columns import Strings
from core.windows import Table
from problem.features import SETS, Reference
from serving.engine import columns_of, features_of, table_of


def build_features(
    rows: pd.DataFrame,
    events: Mapping[str, pd.DataFrame],
    reference: Reference,
    sets: Iterable[str] = tuple(SETS),
) -> pd.DataFrame:
    """The named sets' features, one line a row; text features stay text."""
    past = table_of(events, reference)
    at = rows["decision_at"].to_numpy(dtype=np.int64)
    found = features_of(sets, columns_of(rows), at, past, reference)
    return pd.DataFrame(
        {
            name: np.asarray(value.values, dtype=object)[value.codes] if isinstance(value, Strings) else value
            for name, value in found.items()
        },
        index=rows.index,
    )


def names_by_set(rows: pd.DataFrame, reference: Reference) -> dict[str, tuple[str, ...]]:
    """The features of each set, asked of the sets themselves with one row and an empty past."""
    row, at = columns_of(rows.head(1)), rows["decision_at"].to_numpy(dtype=np.int64)[:1]
    return {name: tuple(features_of([name], row, at, Table({}), reference)) for name in SETS}
