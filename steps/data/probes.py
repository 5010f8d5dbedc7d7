"""Leakage probes: checks that would fail if anything of the future were in the features."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from core.clock import DAY
from core.contract import Contract, Event
from core.windows import HOUR
from problem.features import REACH_HOURS
from steps.data.split import Windows
from steps.model.fit import Floats, Ints

Build = Callable[[pd.DataFrame, Mapping[str, pd.DataFrame]], pd.DataFrame]

CHANCE_ERRORS = 4  # standard errors of the area under a curve of nothing (Hanley and McNeil 1982)
SHUFFLED_ROWS = 50_000
FLAT_TREES = 20


@dataclass(frozen=True)
class Probe:
    """What a probe found, in a sentence."""

    name: str
    passed: bool
    sentence: str


def known_at(event: Event, frame: pd.DataFrame) -> Ints:
    """When each event became known, by the contract alone (epoch seconds)."""
    return frame[event.known].to_numpy(dtype=np.int64) + round(event.known_after_hours * HOUR)


def future_is_unseen(
    build: Build,
    rows: pd.DataFrame,
    events: Mapping[str, pd.DataFrame],
    contract: Contract,
    *,
    cuts: int = 8,
    seed: int = 0,
) -> Probe:
    """Rebuild features after scrambling every event that became known after a moment: none may move.

    Whether an event was known is read from the contract, not from the features' code.
    """
    generator = np.random.default_rng(seed)
    decisions = rows["decision_at"].to_numpy(dtype=np.int64)
    moments = np.quantile(decisions, np.linspace(0.1, 0.9, cuts)).astype(np.int64)
    moved: set[str] = set()
    compared = 0
    for moment in moments:
        near = rows[(decisions <= moment) & (decisions > moment - DAY // 2)]
        whole, scrambled = {}, {}
        for kind, frame in events.items():
            known = known_at(contract.events[kind], frame)
            reach = (known > moment - (REACH_HOURS + 24) * HOUR) & (known <= moment + 2 * DAY)
            whole[kind] = frame[reach]
            future = known[reach] > moment
            scrambled[kind] = _scramble(whole[kind], future, contract.events[kind], generator)
        before, after = build(near, whole), build(near, scrambled)
        compared += len(near)
        moved |= {name for name in before if not before[name].equals(after[name])}
    sentence = (
        f"{', '.join(sorted(moved))} moved when events of the future were scrambled"
        if moved
        else f"no feature of {compared:,} rows moved when all that became known later was scrambled"
    )
    return Probe("future is unseen", not moved, sentence)


def target_is_not_rebuilt(features: pd.DataFrame, label: Ints, limit: float) -> Probe:
    """No feature, and no feature's absence, may tell the label apart better than `limit` (ROC-AUC)."""
    worst, where = 0.5, "none"
    for name in features:
        value = features[name]
        if value.dtype.kind not in "fiub":
            continue
        for reading, numbers in (("", value), (" missing", value.isna())):
            filled = numbers.astype(float).fillna(-1e9)
            area = roc_auc_score(label, filled)
            if max(area, 1 - area) > worst:
                worst, where = max(area, 1 - area), f"{name}{reading}"
    return Probe(
        "target is not rebuilt",
        worst < limit,
        f"the strongest single feature, {where}, has ROC-AUC {worst:.3f}",
    )


def trees_learn(features: Floats, label: Ints, train: Ints, rows: Ints) -> Floats:
    """What a few trees predict for `rows` after learning the labels of `train`."""
    trees = HistGradientBoostingClassifier(max_iter=FLAT_TREES, early_stopping=False, random_state=0)
    return np.asarray(trees.fit(features[train], label[train]).predict_proba(features[rows])[:, 1])


def shuffled_labels_give_chance(
    learn: Callable[[Floats, Ints, Ints, Ints], Floats],
    features: Floats,
    label: Ints,
    windows: Windows,
    seed: int = 0,
) -> Probe:
    """With all labels shuffled, whoever predicts a later window better than chance has seen its labels."""
    fold = windows.folds[-1]
    train = fold.train[-SHUFFLED_ROWS:]
    shuffled = np.random.default_rng(seed).permutation(label)
    area = float(roc_auc_score(shuffled[fold.valid], learn(features, shuffled, train, fold.valid)))
    chance = CHANCE_ERRORS / np.sqrt(12 * len(fold.valid) * label.mean() * (1 - label.mean()))
    return Probe(
        "shuffled labels give chance",
        abs(area - 0.5) < chance,
        f"ROC-AUC {area:.3f} on shuffled labels, where chance allows {0.5 - chance:.3f} to {0.5 + chance:.3f}",
    )


def windows_do_not_overlap(decision_at: Ints, label_known: Ints, windows: Windows) -> Probe:
    """Every label that is learnt from was known before the first decision it is tested on."""
    pairs = [(fold.train, fold.valid) for fold in windows.folds]
    pairs += [(windows.train, windows.contest)]
    if len(windows.after):
        pairs += [(windows.contest, windows.after)]
    gaps = [int(decision_at[later].min() - label_known[earlier].max()) for earlier, later in pairs]
    return Probe(
        "windows do not overlap", min(gaps) >= 0, f"the tightest gap between windows is {min(gaps)} seconds"
    )


def _scramble(
    frame: pd.DataFrame, future: np.ndarray, event: Event, generator: np.random.Generator
) -> pd.DataFrame:
    """Future events moved later in time, with the other values shuffled among them."""
    scrambled = frame.copy()
    places = np.flatnonzero(future)
    for name in frame:
        values = frame[name].to_numpy()[places]
        if name == event.known:
            values = values + generator.integers(0, 5 * DAY, len(places))
        elif name not in event.identity:
            values = generator.permutation(values)
        scrambled.iloc[places, scrambled.columns.get_loc(name)] = values
    return scrambled
