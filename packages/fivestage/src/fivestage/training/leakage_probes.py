"""Leakage probes: checks that fail if information from the future is in the features."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fivestage.common.clock import DAY
from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import Contract, Event
from fivestage.data.event_tables import EventTables, known_at, known_between
from fivestage.data.labels import labels_of
from fivestage.data.splits import TemporalSplit
from fivestage.evaluation.gates import Probe
from fivestage.features.offline import build_features, feature_matrix, learn_categories
from fivestage.features.problem import Problem
from fivestage.training.leakage_measures import Measure, measure_of
from fivestage.training.side_by_side import side_by_side
from fivestage.training.task_trainer import a_few_trees, trainer_of

Build = Callable[[pd.DataFrame, Mapping[str, pd.DataFrame]], pd.DataFrame]
Learn = Callable[[Any, Any, Ints, Ints], Floats]  # features, labels, rows to train on, rows to predict

PROBED_ROWS = 25_000  # enough to measure areas and correlations to within 0.02 (4 standard errors)
MOMENTS = 8  # times after which the future is scrambled


@dataclass(frozen=True)
class LeakageProbes:
    """The results of the leakage probes: first of the feature code, then of the data of a training."""

    found: tuple[Probe, ...]

    @classmethod
    def of_features(cls, problem: Problem, rows: pd.DataFrame, event_tables: EventTables) -> "LeakageProbes":
        """Rebuild a problem's features with the future scrambled: see `future_is_unseen`.

        Args:
            problem: the problem, whose features are rebuilt.
            rows: the decisions with `decision_at`, epoch seconds, and their labels.
            event_tables: the events, and the time from which they are complete.

        Returns:
            The probe, which names the features that changed.
        """
        definitions, tables = problem.features, event_tables
        lookback = definitions.lookback_seconds
        complete = rows[rows["decision_at"] >= tables.since + lookback]

        def build(rows: pd.DataFrame, events: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
            return build_features(definitions, rows, events, tables.reference)

        return cls((future_is_unseen(build, complete, tables.events, problem.contract, lookback),))

    def with_data(
        self, contract: Contract, rows: pd.DataFrame, features: pd.DataFrame, windows: TemporalSplit
    ) -> "LeakageProbes":
        """Add the probes of a training's data, see `data_probes`.

        Args:
            contract: defines the label and the limits.
            rows: the decisions with `decision_at` and `known_at`, epoch seconds, and their labels.
            features: rows x features, by name, text as text.
            windows: positions of the rows in each window.

        Returns:
            These probes and the added ones.
        """
        return LeakageProbes((*self.found, *data_probes(contract, rows, features, windows)))


def data_probes(
    contract: Contract, rows: pd.DataFrame, features: pd.DataFrame, windows: TemporalSplit
) -> tuple[Probe, ...]:
    """Run the probes of the data: for features that are too strong, leaking labels, overlapping windows."""
    label, measure = labels_of(rows, contract), measure_of(contract)
    trees, categories = a_few_trees(trainer_of(contract)), learn_categories(features, windows.train)
    spread = windows.train[:: math.ceil(len(windows.train) / PROBED_ROWS)]
    decided, known = (rows[name].to_numpy() for name in ("decision_at", "known_at"))

    def learn(features: pd.DataFrame, label: Any, train: Ints, rows: Ints) -> Floats:
        used = np.concatenate([train, rows])
        train_and_rows = np.split(np.arange(len(used)), [len(train)])
        return trees(feature_matrix(features.iloc[used], categories), label[used], *train_and_rows)

    probes: list[Callable[[], Probe]] = [
        lambda: target_is_not_rebuilt(features.iloc[spread], label[spread], measure),
        lambda: shuffled_labels_give_chance(learn, features, label, windows, measure),
        lambda: windows_do_not_overlap(decided, known, windows),
    ]
    return tuple(side_by_side(lambda probe: probe(), probes))


def future_is_unseen(
    build: Build,
    rows: pd.DataFrame,
    events: Mapping[str, pd.DataFrame],
    contract: Contract,
    lookback: int,
    *,
    moments: int = MOMENTS,
    seed: int = 0,
) -> Probe:
    """Rebuild features after scrambling all that became known after a given time; no feature may change.

    This covers all later events, and all columns of rows that are not in the contract, such as the label. The
    time when an event was known comes from the contract, not from the feature code. Kaufman et al. (2012),
    Leakage in Data Mining, call this the no-time-machine requirement.
    """
    generator = np.random.default_rng(seed)
    decisions = rows["decision_at"].to_numpy(dtype=np.int64)
    changed: set[str] = set()
    compared = 0
    for moment in np.quantile(decisions, np.linspace(0.1, 0.9, moments), method="lower").tolist():
        near = rows[(decisions <= moment) & (decisions > moment - DAY // 2)]
        relevant = known_between(events, contract, moment - lookback, moment + 2 * DAY)
        scrambled = {
            kind: _scrambled(frame, contract.events[kind], moment, generator)
            for kind, frame in relevant.items()
        }
        other_columns = near.columns.difference([*contract.columns, "decision_at"])
        shuffled = {str(name): generator.permutation(near[name].to_numpy()) for name in other_columns}
        before, after = build(near, relevant), build(near.assign(**shuffled), scrambled)
        compared += len(near)
        changed |= {str(name) for name in before if not before[name].equals(after[name])}
    sentence = (
        f"{', '.join(sorted(changed))} changed when everything after the decision was scrambled"
        if changed
        else f"no feature of {compared:,} rows changed when everything after the decision was scrambled"
    )
    return Probe("future is unseen", not changed, sentence)


def target_is_not_rebuilt(features: pd.DataFrame, label: Any, measure: Measure) -> Probe:
    """Check that no single feature, nor its absence, predicts the label as well as a leak would."""
    strongest, where = measure.no_signal, "none"
    for name, values in features.items():
        for reading, strength in measure.of_feature(values, label):
            if strength > strongest:
                strongest, where = strength, f"{name}{reading}"
    result = f"the strongest single feature, {where}, has {measure.name} {strongest:.3f}"
    name = "target is not rebuilt"
    if measure.limit is None:
        return Probe(
            name,
            passed=True,
            sentence=f"not applicable: {result}, and the contract sets no limit",
            applicable=False,
        )
    return Probe(name, strongest < measure.limit, f"{result}; from {measure.limit:g} a leak is suspected")


def shuffled_labels_give_chance(
    learn: Learn, features: Any, label: Any, windows: TemporalSplit, measure: Measure, *, seed: int = 0
) -> Probe:
    """Check that a model trained on shuffled labels predicts a later window no better than chance.

    This is one draw of a permutation test (Ojala and Garriga 2010), compared with the theoretical limits.
    """
    fold = windows.folds[-1]
    train = fold.train[-PROBED_ROWS:]
    shuffled = np.random.default_rng(seed).permutation(label)
    truth = shuffled[fold.valid]
    score = measure.of_forecast(learn(features, shuffled, train, fold.valid), truth)
    no_signal, chance = measure.no_signal, measure.chance(truth)
    return Probe(
        "shuffled labels give chance",
        bool(abs(score - no_signal) < chance),
        f"{measure.shuffled} {score:.3f} on shuffled labels; chance allows {no_signal - chance:.3f} to "
        f"{no_signal + chance:.3f}",
    )


def windows_do_not_overlap(decision_at: Ints, label_known: Ints, windows: TemporalSplit) -> Probe:
    """Check that all labels of a window were known before the first decision of the window tested on."""
    pairs = [(fold.train, fold.valid) for fold in windows.folds]
    pairs += [(fold.valid, windows.holdout) for fold in windows.folds]
    pairs += [(windows.train, windows.holdout)]
    if len(windows.after):
        pairs += [(windows.holdout, windows.after)]
    gap = min(int(decision_at[later].min() - label_known[earlier].max()) for earlier, later in pairs)
    return Probe("windows do not overlap", gap >= 0, f"the smallest gap between windows is {gap:,} seconds")


def _scrambled(
    frame: pd.DataFrame, event: Event, moment: int, generator: np.random.Generator
) -> pd.DataFrame:
    """Delay events that became known after a given time, and shuffle their other values among them."""
    later = np.flatnonzero(known_at(event, frame) > moment)
    columns = {}
    for name in frame:
        values = frame[name].to_numpy(copy=True)
        if name == event.known:
            values[later] += generator.integers(0, 5 * DAY, len(later))
        elif name not in event.identity:
            values[later] = generator.permutation(values[later])
        columns[name] = values
    return pd.DataFrame(columns, index=frame.index)
