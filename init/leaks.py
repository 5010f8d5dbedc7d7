"""Columns that tell the target too well to have been known before it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from core.columns import Floats
from core.errors import UserError
from core.tables import Layout, label_of, moment, number, text
from init.inspect import Found
from init.target import Target

SAMPLE = 20_000
LEAK = 0.99  # ROC-AUC, or R², that one column alone must not reach
ABSENCE = 0.9  # the same of whether a column has a value
LATER = 0.5  # of the rows, a moment that comes after the decision
HALVES = 2


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
    outcome = text(table[target.header])
    for column in columns:
        values = table[column.header]
        if target.task == "regression":
            one, other = number(values, comma=column.comma), number(table[target.header])
            both = one.notna() & other.notna()
            same = (
                both.sum() > LEAST_PAIRS and abs(float(np.corrcoef(one[both], other[both])[0, 1])) > 1 - 1e-9
            )  # noqa: PLR2004
        else:
            pairs = pd.DataFrame({"one": text(values), "other": outcome}).dropna().drop_duplicates()
            same = len(pairs) == len(target.classes) == pairs["one"].nunique() == pairs["other"].nunique()
        if same:
            raise UserError(
                f"The column {column.header!r} equals the target {target.header!r} row by row: it is the same under "
                f"another name, and unknown when the decision is made. Leave it out: LEAVE_OUT={column.header}"
            )


LEAST_PAIRS = 20


def suspects(
    table: pd.DataFrame, target: Target, columns: Sequence[Found], decided: pd.Series | None
) -> dict[str, str]:
    """By name of a column, the evidence that it was written after the target was known."""
    some = table.sample(min(SAMPLE, len(table)), random_state=0)
    label = label_of(some[target.header], Layout({}, target.header, target.classes))
    some, label = some[label.notna()], label[label.notna()]
    found: dict[str, str] = {}
    numbers = numbers_of(some, columns)
    for place, column in enumerate(columns):
        one = numbers[:, [place]]
        if column.kind == "moment" and decided is not None:
            later = (one[:, 0] > decided.reindex(some.index).to_numpy())[~np.isnan(one[:, 0])]
            if later.size and later.mean() > LATER:
                found[column.name] = (
                    f"it comes after the decision in {later.mean():.0%} of the rows that have it"
                )
                continue
        score = _alone(one, label, target)
        if score >= LEAK:
            found[column.name] = f"alone it reaches {_measure(target)} {score:.3f}"
            continue
        absent = np.isnan(one)
        if absent.any() and not absent.all():
            told = _alone(absent.astype(np.float64), label, target)
            if told >= ABSENCE:
                found[column.name] = f"whether it is missing reaches {_measure(target)} {told:.3f} alone"
    return found


def reach(table: pd.DataFrame, target: Target, columns: Sequence[Found]) -> float:
    """What a quick model of all columns reaches on rows that it has not seen: ROC-AUC, or R²."""
    some = table.sample(min(SAMPLE, len(table)), random_state=0)
    label = label_of(some[target.header], Layout({}, target.header, target.classes))
    some, label = some[label.notna()], label[label.notna()]
    settings = {"max_iter": 40, "min_samples_leaf": max(5, min(50, len(some) // 50)), "random_state": 0}
    kind = HistGradientBoostingRegressor if target.task == "regression" else HistGradientBoostingClassifier
    return _score(kind(**settings), numbers_of(some, columns), label, target)


def _alone(one: Floats, label: pd.Series, target: Target) -> float:
    settings = {"max_leaf_nodes": 32, "min_samples_leaf": 5, "random_state": 0}
    kind = DecisionTreeRegressor if target.task == "regression" else DecisionTreeClassifier
    return _score(kind(**settings), one, label, target)


def _score(model: object, features: Floats, label: pd.Series, target: Target) -> float:
    truth = label.to_numpy()
    if target.task == "regression":
        return float(r2_score(truth, cross_val_predict(model, features, truth, cv=HALVES)))
    chance = cross_val_predict(model, features, truth.astype(int), cv=HALVES, method="predict_proba")
    if target.task == "binary":
        return float(roc_auc_score(truth, chance[:, 1]))
    return float(roc_auc_score(truth, chance, multi_class="ovr", labels=range(len(target.classes))))


def _measure(target: Target) -> str:
    return "R²" if target.task == "regression" else "ROC-AUC"
