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


@dataclass(frozen=True)
class Sample:
    """Rows on which quick models are scored, in the order of their decision times if there are any."""

    rows: pd.DataFrame
    target: Target
    label: Floats
    decided: Floats | None  # epoch seconds

    @classmethod
    def of(cls, table: pd.DataFrame, target: Target, decided: pd.Series | None = None) -> "Sample":
        """Sample rows at random, as many of each class as there are, so that rare classes are kept."""
        shuffled = table[[target.header]].reset_index(drop=True).sample(frac=1, random_state=SEED)
        if target.classes:
            place_in_class = shuffled.groupby(target.label(shuffled)).cumcount()
            shuffled = shuffled[place_in_class.rank(method="first") <= SAMPLE]
        places = shuffled.index[:SAMPLE].to_numpy()
        if decided is not None:
            places = places[decided.to_numpy()[places].argsort(kind="stable")]
        rows = table.iloc[places]
        return cls(rows, target, target.label(rows), None if decided is None else decided.to_numpy()[places])

    @property
    def halves(self) -> KFold | StratifiedKFold:
        """Halves of each class: random, or earlier and later rows.

        Neighbours in time, such as the readings of a sensor, are often nearly the same row.
        """
        folds = StratifiedKFold if self.target.classes else KFold
        return folds(HALVES, shuffle=True, random_state=SEED) if self.decided is None else folds(HALVES)

    @property
    def scoring(self) -> str:
        """scikit-learn's name of the score: ROC-AUC, one-vs-rest, or R²."""
        return "roc_auc_ovr" if self.target.classes else "r2"

    def score(self, model: Any, values: Floats, where: Any = slice(None)) -> float:
        """Score a model on halves that it has not seen."""
        seen = values[where], self.label[where]
        return float(cross_val_score(model, *seen, cv=self.halves, scoring=self.scoring).mean())


def suspects(sample: Sample, columns: Sequence[ColumnProfile]) -> dict[str, str]:
    """Return, by header, the evidence that a column was written after the target was known."""
    numbers, target = numbers_of(sample.rows, columns), sample.target
    evidence: dict[str, str] = {}
    for place, column in enumerate(columns):
        values = numbers[:, place]
        absent = np.isnan(values)
        if column.kind == "timestamp" and sample.decided is not None:
            later = (values > sample.decided)[~absent].mean()
            if later > LATER:
                evidence[column.header] = (
                    f"it comes after the decision in {later:.0%} of the rows that have it"
                )
                continue
        score, where = _score_alone(sample, values), ""
        given = _given(absent, sample)
        if score < LEAK and given.any():
            score = _score_alone(sample, values, given)
            where = f" in the {1 - absent.mean():.0%} of the rows that have it"
        if score >= LEAK:
            evidence[column.header] = f"alone it reaches {target.measure} {score:.3f}{where}"
        elif 0 < absent.mean() < 1 and (known := _absence_score(absent, sample)) >= ABSENCE:
            evidence[column.header] = f"whether it is missing reaches {target.measure} {known:.3f} alone"
        elif only := _only_class(absent, sample):
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
    sample: Sample, columns: Sequence[ColumnProfile], keys: Sequence[ColumnProfile], *, calendar: bool
) -> QuickModel:
    """Score a quick model of all columns.

    Its inputs include target-encoded entities, in place of histories, and with `calendar` the decision's
    minute and weekday.
    """
    classes = sample.target.classes
    if not (columns or keys or calendar):
        return QuickModel(0.5 if classes else 0.0)  # the score of guessing
    values = numbers_of(sample.rows, [*keys, *columns])
    if calendar and sample.decided is not None:
        values = np.column_stack([values, minute_of_day(sample.decided), weekday(sample.decided)])
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    encoder = TargetEncoder(
        target_type="auto" if classes else "continuous",
        cv=KFold(FOLDS, shuffle=True, random_state=SEED),
    )
    model: Any = make_pipeline(
        ColumnTransformer([("keys", encoder, [*range(len(keys))])], remainder="passthrough"),
        FunctionTransformer(fill_empty_columns),
        kind(max_iter=40, min_samples_leaf=max(5, min(50, len(values) // 50)), random_state=SEED),
    )
    score = sample.score(model, values)
    if not classes:
        line = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), RidgeCV())
        along = sample.score(line, values)
        score, model = (along, line) if along > score else (score, model)
    if score < NOTABLE:
        return QuickModel(score)
    learnt, held_out = next(sample.halves.split(values, sample.label))
    model.fit(values[learnt], sample.label[learnt])
    held = values[held_out], sample.label[held_out]
    loss = permutation_importance(model, *held, scoring=sample.scoring, n_repeats=1, random_state=SEED)
    weights = loss.importances_mean
    headers = {place: column.header for place, column in enumerate(columns, len(keys))}  # without the keys
    without = {
        headers[place]: sample.score(clone(model), np.delete(values, place, axis=1))
        for place in np.argsort(-weights)[:MOST_NAMED].tolist()
        if place in headers and weights[place] > LEAST_WEIGHT * weights.max()
    }
    decisive = {
        header: rest for header, rest in without.items() if rest < NOTABLE or 1 - rest > CARRIES * (1 - score)
    }
    return QuickModel(score, decisive or without)


def _given(absent: NDArray[np.bool_], sample: Sample) -> NDArray[np.bool_]:
    """Return the rows that have a value, of classes with enough of them; none if there are too few or all."""
    given = ~absent
    if sample.target.classes:
        codes, rows = np.unique(sample.label[given], return_counts=True)
        codes = codes[rows >= LEAST_OF_CLASS]
        given &= np.isin(sample.label, codes) & (len(codes) > 1)
    return given & bool(absent.any() and given.sum() >= LEAST_ALIKE)


def _score_alone(sample: Sample, values: Floats, where: Any = slice(None)) -> float:
    """Score one column as the only predictor."""
    tree = DecisionTreeClassifier if sample.target.classes else DecisionTreeRegressor
    score = sample.score(tree(max_leaf_nodes=32, min_samples_leaf=5), values[:, None], where)
    if not sample.target.classes:  # with few rows a tree cannot fit a line
        along = pd.Series(values[where]).corr(pd.Series(sample.label[where]), min_periods=LEAST_ALIKE)
        score = max(score, float(np.nan_to_num(along)) ** 2)
    return score


def _only_class(absent: NDArray[np.bool_], sample: Sample) -> str:
    """Return the class of all rows that have a value; empty if there are several, or by chance."""
    given = sample.label[~absent]
    if not sample.target.classes or len(given) < LEAST_PURE or (given != given[0]).any():
        return ""
    rate = float((sample.label == given[0]).mean())
    is_chance = rate > MOST_OF_CLASS or rate ** len(given) > BY_CHANCE
    return "" if is_chance else sample.target.classes[int(given[0])]


def _absence_score(absent: NDArray[np.bool_], sample: Sample) -> float:
    """Score the absence of a value as a predictor: the highest one-vs-rest ROC-AUC, or R²."""
    if not sample.target.classes:
        return float(np.corrcoef(absent, sample.label)[0, 1] ** 2)
    areas = [float(roc_auc_score(sample.label == code, absent)) for code in range(len(sample.target.classes))]
    return max(max(area, 1 - area) for area in areas)
