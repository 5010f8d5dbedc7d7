"""Compute the features of whole tables, as of each row's decision time, and encode them for models."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from fivestage.common.columns import Floats, Ints, Strings
from fivestage.features.checked_view import CheckedRow, CheckedView, for_whole_columns
from fivestage.features.definitions import FeatureDefinitions, Features, Reference, columns_of
from fivestage.features.encoder import encode, matrix
from fivestage.features.stores import OfflineFeatureStore

Categories = dict[str, dict[str, float]]  # by feature: the code of each text value


def build_features(
    definitions: FeatureDefinitions,
    rows: pd.DataFrame,
    events: Mapping[str, pd.DataFrame],
    reference: Reference,
    sets: Iterable[str] | None = None,
) -> pd.DataFrame:
    """Compute the features of a table's rows; text features stay text.

    Args:
        definitions: the project's features.
        rows: the contract's columns, and `decision_at` in int64 epoch seconds.
        events: a frame for each kind of event, timestamps in epoch seconds.
        reference: the static tables, by column, then key.
        sets: names of feature sets; None for all.

    Returns:
        Rows x features, with the index of `rows`.

    Raises:
        UserError: when a set reads an unknown column or log, looks back further than the definitions say,
            or treats a column as one value.
        ValueError: when a set's own arithmetic raises it.
    """
    with for_whole_columns("A function in EVENTS"):
        past = definitions.offline_store(events, reference)
    at, columns = rows["decision_at"].to_numpy(dtype=np.int64), columns_of(rows)
    complete = all(len(events.get(kind, ())) for kind in definitions.events)
    features: Features = {}
    for name in definitions.sets if sets is None else sets:
        row = CheckedRow(columns, name)
        view = CheckedView(past, at, name, definitions.lookback_hours, complete=complete)
        with for_whole_columns(f"The feature set {name!r}"):
            features.update(definitions.compute([name], row, at, view, reference))
    return pd.DataFrame(
        {name: value.texts() if isinstance(value, Strings) else value for name, value in features.items()},
        index=rows.index,
    )


def names_by_set(
    definitions: FeatureDefinitions, rows: pd.DataFrame, reference: Reference
) -> dict[str, tuple[str, ...]]:
    """The names of each set's features, found by computing them for one row with an empty store.

    Args:
        definitions: the project's features.
        rows: at least one row: the contract's columns, and `decision_at` in epoch seconds.
        reference: the static tables, by column, then key.

    Returns:
        For each set, the names of its features, in order.
    """
    row, at = columns_of(rows.head(1)), rows["decision_at"].to_numpy(dtype=np.int64)[:1]
    empty = OfflineFeatureStore({})
    return {name: tuple(definitions.compute([name], row, at, empty, reference)) for name in definitions.sets}


def learn_categories(features: pd.DataFrame, rows: Ints) -> Categories:
    """Number the values of each text feature, the most frequent first.

    Args:
        features: rows x features, text as text.
        rows: positions of those to learn from.

    Returns:
        For each text feature, the code of each value, from 0.
    """
    return {
        str(name): _by_frequency(values.iloc[rows]) for name, values in features.items() if is_text(values)
    }


def _by_frequency(values: pd.Series) -> dict[str, float]:
    """Codes by frequency; equally frequent values are in order of first appearance."""
    codes, known = pd.factorize(values)
    order = np.argsort(-np.bincount(codes[codes >= 0], minlength=len(known)), kind="stable")
    return {known[index]: float(code) for code, index in enumerate(order)}


def is_text(values: pd.Series) -> bool:
    """Whether a feature is text, which is encoded for models.

    Args:
        values: a feature's column.

    Returns:
        True if the dtype is object or text.
    """
    return values.dtype.kind in "OUT"


def feature_matrix(features: pd.DataFrame, categories: Categories) -> Floats:
    """Encode features as numbers, with the encoder that the service uses.

    Args:
        features: rows x features, text as text.
        categories: as returned by `learn_categories`; values without a code become NaN.

    Returns:
        Rows x features, float64, in the order of the columns.
    """
    columns = {
        str(name): _strings(values) if name in categories else values for name, values in features.items()
    }
    return matrix(encode(columns, categories), list(columns), len(features))


def _strings(values: pd.Series) -> Strings:
    codes, known = pd.factorize(values, use_na_sentinel=False)
    return Strings(codes, tuple(known))
