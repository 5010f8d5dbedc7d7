"""Features of every row, as of its decision time."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from fivestage.common.columns import Strings
from fivestage.features.definitions import FeatureDefinitions, Reference, columns_of
from fivestage.features.stores import OfflineFeatureStore


def build_features(
    definitions: FeatureDefinitions,
    rows: pd.DataFrame,
    events: Mapping[str, pd.DataFrame],
    reference: Reference,
    sets: Iterable[str] | None = None,
) -> pd.DataFrame:
    """The features of the named sets, or of all, one line a row; text features stay text."""
    past = definitions.offline_store(events, reference)
    at = rows["decision_at"].to_numpy(dtype=np.int64)
    named = tuple(definitions.sets) if sets is None else sets
    found = definitions.compute(named, columns_of(rows), at, past, reference)
    return pd.DataFrame(
        {
            name: np.asarray(value.values, dtype=object)[value.codes] if isinstance(value, Strings) else value
            for name, value in found.items()
        },
        index=rows.index,
    )


def names_by_set(
    definitions: FeatureDefinitions, rows: pd.DataFrame, reference: Reference
) -> dict[str, tuple[str, ...]]:
    """The features of each set, asked of the sets themselves with one row and an empty past."""
    row, at = columns_of(rows.head(1)), rows["decision_at"].to_numpy(dtype=np.int64)[:1]
    empty = OfflineFeatureStore({})
    return {name: tuple(definitions.compute([name], row, at, empty, reference)) for name in definitions.sets}
