"""Features of whole tables, as of each row's decision time, and as the numbers that models see."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from fivestage.common.columns import Floats, Strings
from fivestage.features.checked_view import CheckedRow, CheckedView, for_whole_columns
from fivestage.features.definitions import FeatureDefinitions, Features, Reference, columns_of
from fivestage.features.encoder import encode, matrix
from fivestage.features.stores import OfflineFeatureStore

Categories = dict[str, dict[str, float]]  # by feature: the number of each text value


def build_features(
    definitions: FeatureDefinitions,
    rows: pd.DataFrame,
    events: Mapping[str, pd.DataFrame],
    reference: Reference,
    sets: Iterable[str] | None = None,
) -> pd.DataFrame:
    """The features of the named sets, or of all, one line a row; text features stay text.

    Args:
        definitions: the project's features.
        rows: one line a row: the contract's columns, and `decision_at` in int64 epoch seconds.
        events: a frame for each kind of event, one line an event, timestamps in epoch seconds.
        reference: the tables that do not change, by column, then key.
        sets: names of feature sets; None for all.

    Returns:
        Rows x features, by the index of `rows`.

    Raises:
        UserError: when a set reads an unknown column or log, looks back beyond the reach of the definitions,
            or treats a column as one value.
        ValueError: when a set's arithmetic raises one.
    """
    with for_whole_columns("A function in EVENTS"):
        past = definitions.offline_store(events, reference)
    at, columns = rows["decision_at"].to_numpy(dtype=np.int64), columns_of(rows)
    whole = all(len(events.get(kind, ())) for kind in definitions.events)
    logs = past.logs if whole else None
    found: Features = {}
    for name in definitions.sets if sets is None else sets:
        row, view = CheckedRow(columns, name), CheckedView(past, at, name, definitions.reach_hours, logs)
        with for_whole_columns(f"The feature set {name!r}"):
            found.update(definitions.compute([name], row, at, view, reference))
    return pd.DataFrame(
        {name: value.texts() if isinstance(value, Strings) else value for name, value in found.items()},
        index=rows.index,
    )


def names_by_set(
    definitions: FeatureDefinitions, rows: pd.DataFrame, reference: Reference
) -> dict[str, tuple[str, ...]]:
    """The features of each set, asked of the sets themselves with one row and an empty past.

    Args:
        definitions: the project's features.
        rows: at least one line: the contract's columns, and `decision_at` in epoch seconds.
        reference: the tables that do not change, by column, then key.

    Returns:
        For each set, the names of its features, in their order.
    """
    row, at = columns_of(rows.head(1)), rows["decision_at"].to_numpy(dtype=np.int64)[:1]
    empty = OfflineFeatureStore({})
    return {name: tuple(definitions.compute([name], row, at, empty, reference)) for name in definitions.sets}


def learn_categories(features: pd.DataFrame) -> Categories:
    """A number for each text value, the most frequent first.

    Args:
        features: rows to learn from, text still as text.

    Returns:
        For each text feature, its values and their numbers, from 0.
    """
    return {str(name): _by_frequency(values) for name, values in features.items() if is_text(values)}


def _by_frequency(values: pd.Series) -> dict[str, float]:
    """Of values as frequent as each other, the first to be seen comes first."""
    codes, known = pd.factorize(values)
    order = np.argsort(-np.bincount(codes[codes >= 0], minlength=len(known)), kind="stable")
    return {known[place]: float(code) for code, place in enumerate(order)}


def is_text(values: pd.Series) -> bool:
    """Whether a feature is text, which models see as numbers of its values.

    Args:
        values: a feature's column.

    Returns:
        True where the dtype is of objects or of texts.
    """
    return values.dtype.kind in "OUT"


def feature_matrix(features: pd.DataFrame, categories: Categories) -> Floats:
    """Features as numbers, encoded the way the service does it.

    Args:
        features: one line a row, text as text.
        categories: as `learn_categories` found them; a value that they lack becomes NaN.

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
