"""Columns that tell the target too well to have been known before it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from core.columns import Floats
from core.errors import UserError
from core.tables import moment, number, positives, text
from init.inspect import Found
from init.target import Target

SAMPLE = 20_000
LEAK = 0.99  # ROC-AUC that one column alone must not reach
ABSENCE = 0.9  # the same of whether a column has a value
LATER = 0.5  # of the rows, a moment that comes after the decision
HALVES = 2
SEED = 0


def numbers_of(table: pd.DataFrame, columns: Sequence[Found]) -> Floats:
    """Columns as numbers: moments as seconds, texts as the rank of their frequency, prose as its length."""
    made = np.full((len(table), len(columns)), np.nan)
    for place, column in enumerate(columns):
        values = table[column.header]
        if column.kind == "moment":
            made[:, place] = moment(values, column.written)
        elif column.kind in ("number", "integer"):
            made[:, place] = number(values, comma=column.comma)
        elif column.kind == "text":
            made[:, place] = text(values).str.len()
        else:
            texts = text(values)
            ranks = {value: rank for rank, value in enumerate(texts.value_counts().index)}
            made[:, place] = texts.map(ranks)
    return made


def refuse_copies(table: pd.DataFrame, target: Target, columns: Sequence[Found]) -> None:
    """Refuse a column that is the target under another name.

    Raises:
        UserError: naming it.
    """
    label = label_in(table, target)
    for column in columns:
        pairs = pd.DataFrame({"value": text(table[column.header]), "label": label})
        pairs = pairs.dropna().drop_duplicates()
        if len(pairs) == pairs["value"].nunique() == pairs["label"].nunique() == len(target.classes):
            raise UserError(
                f"The column {column.header!r} equals the target {target.header!r} row by row: it is the "
                "same under another name, and unknown when the decision is made. Leave it out: "
                f"LEAVE_OUT={column.header}"
            )


def suspects(
    table: pd.DataFrame, target: Target, columns: Sequence[Found], decided: pd.Series | None
) -> dict[str, str]:
    """By name of a column, the evidence that it was written after the target was known."""
    some = table.sample(min(SAMPLE, len(table)), random_state=SEED)
    label = label_in(some, target)
    numbers = numbers_of(some, columns)
    found: dict[str, str] = {}
    for place, column in enumerate(columns):
        one = numbers[:, [place]]
        absent = np.isnan(one)
        if column.kind == "moment" and decided is not None:
            later = (one > decided.reindex(some.index).to_numpy()[:, None])[~absent]
            if later.mean() > LATER:
                found[column.name] = (
                    f"it comes after the decision in {later.mean():.0%} of the rows that have it"
                )
                continue
        score = _score(DecisionTreeClassifier(max_leaf_nodes=32, min_samples_leaf=5), one, label)
        if score >= LEAK:
            found[column.name] = f"alone it reaches ROC-AUC {score:.3f}"
        elif absent.any():
            told = float(roc_auc_score(label, absent[:, 0]))
            if max(told, 1 - told) >= ABSENCE:
                found[column.name] = f"whether it is missing reaches ROC-AUC {max(told, 1 - told):.3f} alone"
    return found


def reach(table: pd.DataFrame, target: Target, columns: Sequence[Found]) -> float:
    """The ROC-AUC that a quick model of all columns reaches on rows that it has not seen."""
    some = table.sample(min(SAMPLE, len(table)), random_state=SEED)
    least = max(5, min(50, len(some) // 50))
    model = HistGradientBoostingClassifier(max_iter=40, min_samples_leaf=least, random_state=SEED)
    return _score(model, numbers_of(some, columns), label_in(some, target))


def label_in(table: pd.DataFrame, target: Target) -> pd.Series:
    """1 where the target is positive, 0 where it is not."""
    return positives(table[target.header], target.positive or target.classes[1])


def _score(model: ClassifierMixin, features: Floats, label: pd.Series) -> float:
    truth = label.to_numpy(int)
    chance = cross_val_predict(model, features, truth, cv=HALVES, method="predict_proba")
    return float(roc_auc_score(truth, chance[:, 1]))
