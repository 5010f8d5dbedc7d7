"""Leakage probes: checks that would fail if anything of the future were in the features."""

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
Learn = Callable[[Any, Any, Ints, Ints], Floats]  # features, labels, rows to learn, rows to predict

SHUFFLED_ROWS = 50_000
MOMENTS = 8  # at which the future is scrambled


@dataclass(frozen=True)
class LeakageProbes:
    """What each leakage probe found: of the features' code first, then of one training's data."""

    found: tuple[Probe, ...]

    @classmethod
    def of_features(cls, problem: Problem, rows: pd.DataFrame, event_tables: EventTables) -> "LeakageProbes":
        """Rebuild a problem's features with the future scrambled: see `future_is_unseen`.

        Args:
            problem: the problem, whose features are rebuilt.
            rows: the decisions with `decision_at`, epoch seconds, and their labels.
            event_tables: the events, and from when on they are whole.

        Returns:
            The probe, which names the features that moved.
        """
        definitions, tables = problem.features, event_tables
        lookback = definitions.lookback_seconds
        whole = rows[rows["decision_at"] >= tables.since + lookback]

        def build(some: pd.DataFrame, events: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
            return build_features(definitions, some, events, tables.reference)

        return cls((future_is_unseen(build, whole, tables.events, problem.contract, lookback),))

    def with_data(
        self, contract: Contract, rows: pd.DataFrame, features: pd.DataFrame, windows: TemporalSplit
    ) -> "LeakageProbes":
        """These probes and those of a training's data, see `data_probes`.

        Args:
            contract: tells the label and the limits.
            rows: the decisions with `decision_at` and `known_at`, epoch seconds, and their labels.
            features: rows x features, by name, text as text.
            windows: positions of rows in each window.

        Returns:
            All of them.
        """
        return LeakageProbes((*self.found, *data_probes(contract, rows, features, windows)))


def data_probes(
    contract: Contract, rows: pd.DataFrame, features: pd.DataFrame, windows: TemporalSplit
) -> tuple[Probe, ...]:
    """Whether a feature tells too much, trees learn shuffled labels, or labels were known too late."""
    label, measure, seen = labels_of(rows, contract), measure_of(contract), features.iloc[windows.train]
    trees, categories = a_few_trees(trainer_of(contract)), learn_categories(seen)
    decided, known = (rows[name].to_numpy() for name in ("decision_at", "known_at"))

    def learn(features: pd.DataFrame, label: Any, train: Ints, rows: Ints) -> Floats:
        used = np.concatenate([train, rows])
        places = np.split(np.arange(len(used)), [len(train)])
        return trees(feature_matrix(features.iloc[used], categories), label[used], *places)

    probes: list[Callable[[], Probe]] = [
        lambda: target_is_not_rebuilt(seen, label[windows.train], measure),
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
    """Rebuild features after scrambling all that became known after a moment: none may move.

    That is every later event, and whatever a row carries beside the contract's columns, such as its label.
    When an event was known is read from the contract, not from the features' code. It tests what Kaufman et
    al. (2012), Leakage in Data Mining, call the no-time-machine requirement.
    """
    generator = np.random.default_rng(seed)
    decisions = rows["decision_at"].to_numpy(dtype=np.int64)
    moved: set[str] = set()
    compared = 0
    for moment in np.quantile(decisions, np.linspace(0.1, 0.9, moments), method="lower").tolist():
        near = rows[(decisions <= moment) & (decisions > moment - DAY // 2)]
        reached = known_between(events, contract, moment - lookback, moment + 2 * DAY)
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
        f"{', '.join(sorted(moved))} changed when everything after the decision was scrambled"
        if moved
        else f"no feature of {compared:,} rows changed when everything after the decision was scrambled"
    )
    return Probe("future is unseen", not moved, sentence)


def target_is_not_rebuilt(features: pd.DataFrame, label: Any, measure: Measure) -> Probe:
    """No feature, and no feature's absence, may tell the label as well as a leak would."""
    worst, where = measure.no_signal, "none"
    for name, values in features.items():
        for reading, told in measure.of_feature(values, label):
            if told > worst:
                worst, where = told, f"{name}{reading}"
    found = f"the strongest single feature, {where}, has {measure.name} {worst:.3f}"
    name = "target is not rebuilt"
    if measure.limit is None:
        return Probe(
            name,
            passed=True,
            sentence=f"not applicable: {found}, and the contract has no limit",
            applicable=False,
        )
    return Probe(name, worst < measure.limit, f"{found}; from {measure.limit:g} a leak is suspected")


def shuffled_labels_give_chance(
    learn: Learn, features: Any, label: Any, windows: TemporalSplit, measure: Measure, *, seed: int = 0
) -> Probe:
    """With all labels shuffled, whoever predicts a later window better than chance has seen its labels.

    It is one draw of a permutation test (Ojala and Garriga 2010), held against what chance allows by theory.
    """
    fold = windows.folds[-1]
    train = fold.train[-SHUFFLED_ROWS:]
    shuffled = np.random.default_rng(seed).permutation(label)
    truth = shuffled[fold.valid]
    told = measure.of_forecast(learn(features, shuffled, train, fold.valid), truth)
    least, chance = measure.no_signal, measure.chance(truth)
    return Probe(
        "shuffled labels give chance",
        bool(abs(told - least) < chance),
        f"{measure.shuffled} {told:.3f} on shuffled labels; chance allows {least - chance:.3f} to "
        f"{least + chance:.3f}",
    )


def windows_do_not_overlap(decision_at: Ints, label_known: Ints, windows: TemporalSplit) -> Probe:
    """Every label that is learnt from was known before the first decision it is tested on."""
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
