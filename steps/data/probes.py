"""Leakage probes: checks that would fail if anything of the future were in the features."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from core.clock import DAY
from core.columns import Floats, Ints
from core.contract import Contract, Event
from report.results import Probe
from steps.data.split import Windows
from steps.data.world import PAST, known_at, known_between

Build = Callable[[pd.DataFrame, Mapping[str, pd.DataFrame]], pd.DataFrame]
Learn = Callable[[Floats, Ints, Ints, Ints], Floats]  # features, labels, rows to learn, rows to predict

CHANCE_ERRORS = 4  # standard errors of the area under a curve of nothing (Hanley and McNeil 1982)
SHUFFLED_ROWS = 50_000
MOMENTS = 8  # at which the future is scrambled


def future_is_unseen(
    build: Build,
    rows: pd.DataFrame,
    events: Mapping[str, pd.DataFrame],
    contract: Contract,
    *,
    moments: int = MOMENTS,
    seed: int = 0,
) -> Probe:
    """Rebuild features after scrambling all that became known after a moment: none may move.

    That is every later event, and whatever a row carries beside the contract's columns, such as its label.
    When an event was known is read from the contract, not from the features' code.
    """
    generator = np.random.default_rng(seed)
    decisions = rows["decision_at"].to_numpy(dtype=np.int64)
    moved: set[str] = set()
    compared = 0
    for moment in np.quantile(decisions, np.linspace(0.1, 0.9, moments)).astype(np.int64).tolist():
        near = rows[(decisions <= moment) & (decisions > moment - DAY // 2)]
        reached = known_between(events, contract, moment - PAST, moment + 2 * DAY)
        scrambled = {
            kind: _scrambled(frame, contract.events[kind], moment, generator)
            for kind, frame in reached.items()
        }
        carried = near.columns.difference([*contract.columns, "decision_at"])
        shuffled = {str(name): generator.permutation(near[name].to_numpy()) for name in carried}
        before, after = build(near, reached), build(near.assign(**shuffled), scrambled)
        compared += len(near)
        moved |= {str(name) for name in before if not before[name].equals(after[name])}
    sentence = (
        f"{', '.join(sorted(moved))} moved when the future was scrambled"
        if moved
        else f"no feature of {compared:,} rows moved when all that became known later was scrambled"
    )
    return Probe("future is unseen", not moved, sentence)


def target_is_not_rebuilt(features: pd.DataFrame, label: Ints, limit: float) -> Probe:
    """No feature, and no feature's absence, may tell the label apart as well as `limit` (ROC-AUC)."""
    worst, where = 0.5, "none"
    for name, values in features.items():
        for reading, numbers, truth in _readings(values, label):
            area = _area(np.asarray(numbers.rank(na_option="top"), dtype=np.float64), truth)
            if max(area, 1 - area) > worst:
                worst, where = max(area, 1 - area), f"{name}{reading}"
    sentence = f"the strongest single feature, {where}, has ROC-AUC {worst:.3f} where {limit:g} is a leak"
    return Probe("target is not rebuilt", worst < limit, sentence)


def shuffled_labels_give_chance(
    learn: Learn, features: Floats, label: Ints, windows: Windows, seed: int = 0
) -> Probe:
    """With all labels shuffled, whoever predicts a later window better than chance has seen its labels."""
    fold = windows.folds[-1]
    train = fold.train[-SHUFFLED_ROWS:]
    shuffled = np.random.default_rng(seed).permutation(label)
    area = float(roc_auc_score(shuffled[fold.valid], learn(features, shuffled, train, fold.valid)))
    chance = CHANCE_ERRORS / np.sqrt(12 * len(fold.valid) * label.mean() * (1 - label.mean()))
    return Probe(
        "shuffled labels give chance",
        bool(abs(area - 0.5) < chance),
        f"ROC-AUC {area:.3f} on shuffled labels; chance allows {0.5 - chance:.3f} to {0.5 + chance:.3f}",
    )


def windows_do_not_overlap(decision_at: Ints, label_known: Ints, windows: Windows) -> Probe:
    """Every label that is learnt from was known before the first decision it is tested on."""
    pairs = [(fold.train, fold.valid) for fold in windows.folds]
    pairs += [(fold.valid, windows.contest) for fold in windows.folds]
    pairs += [(windows.train, windows.contest)]
    if len(windows.after):
        pairs += [(windows.contest, windows.after)]
    gap = min(int(decision_at[later].min() - label_known[earlier].max()) for earlier, later in pairs)
    return Probe("windows do not overlap", gap >= 0, f"the tightest gap between windows is {gap:,} seconds")


def _scrambled(
    frame: pd.DataFrame, event: Event, moment: int, generator: np.random.Generator
) -> pd.DataFrame:
    """Events known after a moment moved later still, their other values shuffled among them."""
    places = np.flatnonzero(known_at(event, frame) > moment)
    changed = {}
    for name in frame:
        values = frame[name].to_numpy(copy=True)
        if name == event.known:
            values[places] += generator.integers(0, 5 * DAY, len(places))
        elif name not in event.identity:
            values[places] = generator.permutation(values[places])
        changed[name] = values
    return pd.DataFrame(changed, index=frame.index)


def _readings(values: pd.Series, label: Ints) -> Iterator[tuple[str, pd.Series, Ints]]:
    """What a feature could tell: its order or, of text, the rate of its value; and whether it is missing."""
    absent = values.isna()
    if absent.any():
        yield " missing", absent, label
    if values.dtype.kind in "fiub":
        yield "", values, label
        return
    half = np.arange(len(values)) % 2 == 0  # a rate is read on other rows than it was learnt on
    rates = pd.Series(label[half]).groupby(values[half].to_numpy()).mean()
    yield "", values[~half].map(rates).fillna(label.mean()), label[~half]


def _area(ranks: Floats, truth: Ints) -> float:
    """Area under the ROC curve, from average ranks (Mann and Whitney 1947)."""
    positive = truth.sum()
    above = ranks[truth == 1].sum() - positive * (positive + 1) / 2
    return float(above / (positive * (len(truth) - positive)))
