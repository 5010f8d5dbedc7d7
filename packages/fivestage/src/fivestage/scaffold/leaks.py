"""Detect data leakage: columns that predict the target too well to be known before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, TargetEncoder
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from fivestage.common.clock import minute_of_day, weekday
from fivestage.common.columns import Floats, fill_empty_columns
from fivestage.scaffold.column_profiles import LARGEST, ColumnProfile
from fivestage.scaffold.target import Target

SAMPLE = 20_000
LEAK = 0.99  # ROC-AUC, or R² for regression, from which on a single column is a suspected leak
NOTABLE = 0.9  # score of a quick model from which on its most important columns are named
LEAST_ALIKE = 30  # minimum rows with a value, as fewer follow the target by chance
LEAST_OF_CLASS = 5  # minimum rows of a class among them
ABSENCE = 0.9  # the same as LEAK, for whether a column has a value
LEAST_PURE = 20  # minimum rows with a value, if all of them are of one class, ...
MOST_OF_CLASS = 0.9  # ... which is at most this share of the table: that a rare class is absent is no leak
BY_CHANCE = 1e-6  # probability of rows of one class up to which their column is suspected
LATER = 0.5  # share of rows from which on a timestamp after the decision is a leak
HALVES = 2
CARRIES = 5  # times what a model lacks to perfection, without a column that makes it suspicious
MOST_NAMED = 3  # columns
LEAST_WEIGHT = 0.05  # minimum importance, relative to the most important column
FOLDS = 5
SEED = 0


def numbers_of(table: pd.DataFrame, columns: Sequence[ColumnProfile]) -> Floats:
    """Encode columns as numbers: timestamps in seconds, categories by frequency rank, free text by length."""
    encoded = np.full((len(table), len(columns)), np.nan)
    for place, column in enumerate(columns):
        values = column.parse(table[column.header])
        if column.kind == "text":
            values = values.str.len()
        elif column.kind == "category":
            values = values.map({value: rank for rank, value in enumerate(values.value_counts().index)})
        encoded[:, place] = values
    return encoded.clip(-LARGEST, LARGEST)


def some_of(table: pd.DataFrame, target: Target, decided: pd.Series | None = None) -> pd.DataFrame:
    """Sample rows at random, rare classes first; return them in the order of their decision times, if any."""
    shuffled = table[[target.header]].reset_index(drop=True).sample(frac=1, random_state=SEED)
    if target.classes:
        place_in_class = shuffled.groupby(target.label(shuffled)).cumcount()
        shuffled = shuffled[place_in_class.rank(method="first") <= SAMPLE]
    places = shuffled.index[:SAMPLE].to_numpy()
    if decided is not None:
        places = places[decided.to_numpy()[places].argsort(kind="stable")]
    return table.iloc[places]


def suspects(
    table: pd.DataFrame, target: Target, columns: Sequence[ColumnProfile], decided: pd.Series | None
) -> dict[str, str]:
    """Return, by header, the evidence that a column was written after the target was known."""
    sample = some_of(table, target, decided)
    label, numbers, halves = target.label(sample), numbers_of(sample, columns), _halves(target, decided)
    evidence: dict[str, str] = {}
    for place, column in enumerate(columns):
        values = numbers[:, place]
        absent = np.isnan(values)
        if column.kind == "timestamp" and decided is not None:
            later = (values > decided.reindex(sample.index))[~absent].mean()
            if later > LATER:
                evidence[column.header] = (
                    f"it comes after the decision in {later:.0%} of the rows that have it"
                )
                continue
        score, where = _score_alone(values, label, halves, target), ""
        given = _given(absent, label, target)
        if score < LEAK and given.any():
            score = _score_alone(values[given], label[given], halves, target)
            where = f" in the {1 - absent.mean():.0%} of the rows that have it"
        if score >= LEAK:
            evidence[column.header] = f"alone it reaches {target.measure} {score:.3f}{where}"
        elif 0 < absent.mean() < 1 and (known := _absence_score(absent, label, target)) >= ABSENCE:
            evidence[column.header] = f"whether it is missing reaches {target.measure} {known:.3f} alone"
        elif only := _only_class(absent, label, target):
            rows = int((~absent).sum())
            evidence[column.header] = (
                f"it has a value in {rows:,} rows, all of which have the target {only!r}"
            )
    return evidence


@dataclass(frozen=True)
class QuickModel:
    """How well a quick model does on rows that it has not seen.

    Args:
        score: ROC-AUC, or R² for regression.
        decisive: If the score is notable, up to three columns that cause it, with the score of a model
            without that column; if no such model is far worse, the most important columns.
    """

    score: float
    decisive: Mapping[str, float] = field(default_factory=dict)


def quick_model(
    table: pd.DataFrame,
    target: Target,
    columns: Sequence[ColumnProfile],
    keys: Sequence[ColumnProfile],
    decided: pd.Series | None,
    *,
    calendar: bool,
) -> QuickModel:
    """Score a quick model of all columns.

    Its inputs include target-encoded entities, in place of histories, and with `calendar` the decision's
    minute and weekday.
    """
    if not (columns or keys or calendar):
        return QuickModel(0.5 if target.classes else 0.0)  # the score of guessing
    sample, halves = some_of(table, target, decided), _halves(target, decided)
    label, values = target.label(sample), numbers_of(sample, [*keys, *columns])
    if calendar and decided is not None:
        at = decided.reindex(sample.index).to_numpy()
        values = np.column_stack([values, minute_of_day(at), weekday(at)])
    kind = HistGradientBoostingClassifier if target.classes else HistGradientBoostingRegressor
    encoder = TargetEncoder(
        target_type="auto" if target.classes else "continuous",
        cv=KFold(FOLDS, shuffle=True, random_state=SEED),
    )
    model: Any = make_pipeline(
        ColumnTransformer([("keys", encoder, [*range(len(keys))])], remainder="passthrough"),
        FunctionTransformer(fill_empty_columns),
        kind(max_iter=40, min_samples_leaf=max(5, min(50, len(sample) // 50)), random_state=SEED),
    )
    score = _score(model, values, label, halves, target)
    if not target.classes:
        line = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), RidgeCV())
        along = _score(line, values, label, halves, target)
        score, model = (along, line) if along > score else (score, model)
    if score < NOTABLE:
        return QuickModel(score)
    learnt, held_out = next(halves.split(values, label))
    model.fit(values[learnt], label[learnt])
    held = values[held_out], label[held_out]
    loss = permutation_importance(model, *held, scoring=_scoring(target), n_repeats=1, random_state=SEED)
    weights = loss.importances_mean
    headers = {place: column.header for place, column in enumerate(columns, len(keys))}  # without the keys
    without = {
        headers[place]: _score(clone(model), np.delete(values, place, axis=1), label, halves, target)
        for place in np.argsort(-weights)[:MOST_NAMED].tolist()
        if place in headers and weights[place] > LEAST_WEIGHT * weights.max()
    }
    decisive = {
        header: rest for header, rest in without.items() if rest < NOTABLE or 1 - rest > CARRIES * (1 - score)
    }
    return QuickModel(score, decisive or without)


def _given(absent: NDArray[np.bool_], label: Floats, target: Target) -> NDArray[np.bool_]:
    """Return the rows that have a value, of classes with enough of them; none if there are too few or all."""
    given = ~absent
    if target.classes:
        codes, rows = np.unique(label[given], return_counts=True)
        codes = codes[rows >= LEAST_OF_CLASS]
        given &= np.isin(label, codes) & (len(codes) > 1)
    return given & bool(absent.any() and given.sum() >= LEAST_ALIKE)


def _score_alone(values: Floats, label: Floats, halves: KFold | StratifiedKFold, target: Target) -> float:
    """Score one column as the only predictor."""
    tree = DecisionTreeClassifier if target.classes else DecisionTreeRegressor
    score = _score(tree(max_leaf_nodes=32, min_samples_leaf=5), values[:, None], label, halves, target)
    if not target.classes:  # with few rows a tree cannot fit a line
        along = pd.Series(values).corr(pd.Series(label), min_periods=LEAST_ALIKE)
        score = max(score, float(np.nan_to_num(along)) ** 2)
    return score


def _only_class(absent: NDArray[np.bool_], label: Floats, target: Target) -> str:
    """Return the class of all rows that have a value; empty if there are several, or by chance."""
    given = label[~absent]
    if not target.classes or len(given) < LEAST_PURE or (given != given[0]).any():
        return ""
    rate = float((label == given[0]).mean())
    is_chance = rate > MOST_OF_CLASS or rate ** len(given) > BY_CHANCE
    return "" if is_chance else target.classes[int(given[0])]


def _absence_score(absent: NDArray[np.bool_], label: Floats, target: Target) -> float:
    """Score the absence of a value as a predictor: the highest one-vs-rest ROC-AUC, or R²."""
    if not target.classes:
        return float(np.corrcoef(absent, label)[0, 1] ** 2)
    areas = [float(roc_auc_score(label == code, absent)) for code in range(len(target.classes))]
    return max(max(area, 1 - area) for area in areas)


def _halves(target: Target, decided: pd.Series | None) -> KFold | StratifiedKFold:
    """Return the halves, of each class, on which models are scored: random, or earlier and later rows.

    Neighbours in time, such as the readings of a sensor, are often nearly the same row.
    """
    folds = StratifiedKFold if target.classes else KFold
    return folds(HALVES) if decided is not None else folds(HALVES, shuffle=True, random_state=SEED)


def _scoring(target: Target) -> str:
    """Return scikit-learn's name of the score: ROC-AUC, one-vs-rest, or R²."""
    return "roc_auc_ovr" if target.classes else "r2"


def _score(
    model: Any, features: Floats, label: Floats, halves: KFold | StratifiedKFold, target: Target
) -> float:
    """Score a model on halves that it has not seen."""
    return float(cross_val_score(model, features, label, cv=halves, scoring=_scoring(target)).mean())
