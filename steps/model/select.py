"""Baselines and candidates on the same temporal folds; nothing here sees the contest window or what comes after."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from core.contract import Contract, Costs
from core.windows import HOUR
from monitoring.metrics import scores
from serving.artifact import Calibration
from steps.data.split import Fold, Windows
from steps.model.fit import Floats, Ints, Trees, calibrate, fit_trees

CANDIDATES = (
    Trees(learning_rate=0.1, leaves=15, count=175),
    Trees(learning_rate=0.1, leaves=31, count=125),
    Trees(learning_rate=0.15, leaves=7, count=200),
)
TREES_STEP = 25
LOOKUP_PRIOR = 20.0  # rows that a rate needs before it outweighs the overall one
LOGISTIC_ROWS = 60_000  # the most recent ones; more did not move its scores
JOBS = 2


@dataclass(frozen=True)
class Entry:
    """One line of the leaderboard: means over the folds."""

    name: str
    kind: str
    metrics: dict[str, float]
    chosen: bool = False


@dataclass(frozen=True)
class Selection:
    """The chosen trees, their calibration, and everything they were compared with."""

    trees: Trees
    calibration: Calibration
    leaderboard: tuple[Entry, ...]


def prior(features: Floats, keys: pd.DataFrame, label: Ints, train: Ints, rows: Ints) -> Floats:
    """The rate of the training rows, for everybody."""
    return np.full(len(rows), label[train].mean())


def historical_rate(features: Floats, keys: pd.DataFrame, label: Ints, train: Ints, rows: Ints) -> Floats:
    """The training rate of the row's group, drawn to the overall rate where the group is small."""
    overall = label[train].mean()
    group = keys.groupby(list(keys), sort=False).ngroup().to_numpy()
    bad = np.bincount(group[train], label[train], group.max() + 1)
    seen = np.bincount(group[train], minlength=group.max() + 1)
    rate = (bad + LOOKUP_PRIOR * overall) / (seen + LOOKUP_PRIOR)
    return np.asarray(rate[group[rows]], dtype=np.float64)


def logistic_regression(features: Floats, keys: pd.DataFrame, label: Ints, train: Ints, rows: Ints) -> Floats:
    """A line through standardised features, missing ones at their median and flagged."""
    recent = train[-LOGISTIC_ROWS:]
    line = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True),
        StandardScaler(),
        LogisticRegression(max_iter=200),
    )
    line.fit(features[recent], label[recent])
    return np.asarray(line.predict_proba(features[rows])[:, 1], dtype=np.float64)


BASELINES = {"prior": prior, "historical_rate": historical_rate, "logistic_regression": logistic_regression}


def lookup_keys(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """What the historical-rate lookup groups by: the contract's slices and the hour of the day."""
    hour = (rows[contract.decision.time_column] // HOUR % 24).astype(str)
    return rows[list(contract.slices)].astype(str).assign(hour=hour)


def select(
    features: Floats,
    keys: pd.DataFrame,
    label: Ints,
    windows: Windows,
    contract: Contract,
    tried: Sequence[Trees],
) -> Selection:
    """Compare baselines and candidates on the folds, take the candidate with the least log-loss, calibrate it."""
    folds = windows.folds
    work = [(trees, fold) for trees in tried for fold in folds]
    margins = Parallel(n_jobs=JOBS)(
        delayed(_staged_margins)(features, label, fold, trees) for trees, fold in work
    )
    by_candidate = {trees: margins[i * len(folds) : (i + 1) * len(folds)] for i, trees in enumerate(tried)}
    valid = np.concatenate([label[fold.valid] for fold in folds])

    entries, best = [], (np.inf, tried[0], np.empty(0))
    for trees, staged in by_candidate.items():
        losses = [
            np.mean(
                [
                    log_loss(label[fold.valid], _sigmoid(part[stage]))
                    for part, fold in zip(staged, folds, strict=True)
                ]
            )
            for stage in range(len(staged[0]))
        ]
        stage = int(np.argmin(losses))
        kept = replace(trees, count=(stage + 1) * TREES_STEP)
        margin = np.concatenate([part[stage] for part in staged])
        entries.append(
            Entry(kept.name, "candidate", _fold_means(_sigmoid(margin), label, folds, contract.costs))
        )
        if losses[stage] < best[0]:
            best = (losses[stage], kept, margin)
    _, chosen, margin = best
    entries = [replace(entry, chosen=entry.name == chosen.name) for entry in entries]
    baselines = [
        Entry(
            name,
            "baseline",
            _fold_means(_baseline(name, features, keys, label, folds), label, folds, contract.costs),
        )
        for name in contract.baselines
    ]
    return Selection(chosen, calibrate(margin, valid), (*baselines, *entries))


def baseline_savings(
    features: Floats, keys: pd.DataFrame, label: Ints, windows: Windows, contract: Contract
) -> dict[str, float]:
    """The share of the possible savings that each baseline brings in the contest window."""
    answers = {
        name: BASELINES[name](features, keys, label, windows.train, windows.contest)
        for name in contract.baselines
    }
    contest = label[windows.contest]
    return {
        name: scores(contest, answer, contract.costs)["savings_share"] for name, answer in answers.items()
    }


def _staged_margins(features: Floats, label: Ints, fold: Fold, trees: Trees) -> list[Floats]:
    """Margins of the fold's validation rows after every few trees."""
    model = fit_trees(features[fold.train], label[fold.train], trees)
    staged = model.staged_decision_function(features[fold.valid])
    return [margin.ravel() for number, margin in enumerate(staged, 1) if number % TREES_STEP == 0]


def _baseline(name: str, features: Floats, keys: pd.DataFrame, label: Ints, folds: Sequence[Fold]) -> Floats:
    return np.concatenate([BASELINES[name](features, keys, label, fold.train, fold.valid) for fold in folds])


def _fold_means(probability: Floats, label: Ints, folds: Sequence[Fold], costs: Costs) -> dict[str, float]:
    parts = np.split(probability, np.cumsum([len(fold.valid) for fold in folds])[:-1])
    found = [scores(label[fold.valid], part, costs) for part, fold in zip(parts, folds, strict=True)]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def _sigmoid(margin: Floats) -> Floats:
    return Calibration().probability(margin)
