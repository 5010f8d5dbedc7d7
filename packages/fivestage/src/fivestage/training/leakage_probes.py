"""Leakage probes: checks that fail if information from the future is in the features."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import r2_score, roc_auc_score

from fivestage.common.clock import DAY
from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import (
    BinaryContract,
    Contract,
    Event,
    MulticlassContract,
    RegressionContract,
    epoch_of,
)
from fivestage.contract.cost_model import VALUE
from fivestage.data.event_tables import EventTables, known_at, known_between
from fivestage.data.labels import labels_of
from fivestage.data.splits import TemporalSplit, windows_at
from fivestage.evaluation.gates import Probe
from fivestage.features.offline import build_features, feature_matrix, learn_categories
from fivestage.features.problem import Problem
from fivestage.training.side_by_side import side_by_side
from fivestage.training.task_trainer import a_few_trees, trainer_of

Build = Callable[[pd.DataFrame, Mapping[str, pd.DataFrame]], pd.DataFrame]
Learn = Callable[[Any, Any, Ints, Ints], Floats]  # features, labels, rows to train on, rows to predict

PROBED_ROWS = 25_000  # enough to measure areas and correlations to within 0.02 (4 standard errors)
MOMENTS = 8  # times after which the future is scrambled
CHANCE_ERRORS = 4  # standard errors by which a measure without any signal may deviate
BINS = 50  # of a numeric feature, with equal numbers of rows


class MeanRocAuc:
    """Mean area under the ROC curves of the classes, each against the rest: 1 is perfect, 0.5 useless."""

    name = shuffled = "ROC-AUC"  # for single features, and for forecasts of shuffled labels
    no_signal = 0.5  # value of a useless predictor

    def __init__(self, contract: BinaryContract | MulticlassContract) -> None:
        self.limit = contract.gates.suspicious_roc_auc  # values from here on suggest a leak
        self._classes = len(contract.label.classes) if isinstance(contract, MulticlassContract) else 0

    def of_feature(self, values: pd.Series, label: Ints) -> Iterator[tuple[str, float]]:
        """Yield how well one feature predicts the label, by its absence and by its value.

        It learns from every second row and is tested on the others.
        """
        for reading, means in _readings(values, np.eye(self._classes)[label] if self._classes else label):
            yield reading, self.of_forecast(means, label[1::2])

    def of_forecast(self, forecast: Floats, label: Ints) -> float:
        """Return how well forecasts predict the label."""
        if forecast.ndim == 1:
            return float(roc_auc_score(label, forecast))
        places = [place for place in np.unique(label) if not (label == place).all()]
        return float(np.mean([roc_auc_score(label == place, forecast[:, place]) for place in places]))

    def chance(self, label: Ints) -> float:
        """Return the deviation from `no_signal` that chance allows (Hanley and McNeil 1982).

        Of several classes it is that of the rarest, which bounds that of the mean.
        """
        share = np.bincount(label) / len(label)
        rarest = share[share > 0].min()
        return float(CHANCE_ERRORS / np.sqrt(12 * len(label) * rarest * (1 - rarest)))


class ExplainedVariance:
    """Share of the label's variance that is explained."""

    name, shuffled, no_signal = "R²", "correlation", 0.0

    def __init__(self, contract: RegressionContract) -> None:
        self.limit = contract.gates.suspicious_r2

    def of_feature(self, values: pd.Series, label: Floats) -> Iterator[tuple[str, float]]:
        for reading, means in _readings(values, label):
            yield reading, float(r2_score(label[1::2], means))

    def of_forecast(self, forecast: Floats, label: Floats) -> float:
        """Return their correlation, because the R² of forecasts without any signal is negative."""
        value = forecast[:, VALUE]
        return float(np.corrcoef(value, label)[0, 1]) if value.std() else 0.0

    def chance(self, label: Floats) -> float:
        return float(CHANCE_ERRORS / np.sqrt(len(label)))


Measure = MeanRocAuc | ExplainedVariance


def measure_of(contract: Contract) -> Measure:
    """Return the measure for a contract's task."""
    kind: Callable[[Any], Measure] = ExplainedVariance if contract.task == "regression" else MeanRocAuc
    return kind(contract)


def _readings(values: pd.Series, target: Any) -> Iterator[tuple[str, Floats]]:
    """Predict every second row by the mean target of its bin in the other rows.

    The bins are those of the feature's absence, and those of its value, where missing is a bin too.
    """
    missing = values.isna()
    if missing.any():
        yield " missing", _bin_means(np.asarray(missing, dtype=np.int64), target)
    if values.dtype.kind in "fiub":
        ranks = values.rank(pct=True)
        bins: Ints = np.where(missing, BINS, np.minimum(ranks.fillna(0) * BINS, BINS - 1)).astype(np.int64)
    else:
        bins = pd.factorize(values, use_na_sentinel=False)[0]
    yield "", _bin_means(bins, target)


def _bin_means(bins: Ints, target: Any) -> Floats:
    learnt, size = bins[::2], int(bins.max()) + 1
    columns = target.reshape(len(target), -1).T
    total = [np.bincount(learnt, column[::2], size) + column.mean() for column in columns]
    means = np.column_stack(total) / (np.bincount(learnt, minlength=size)[:, None] + 1)
    return np.asarray(means[bins[1::2]].reshape(-1, *target.shape[1:]), dtype=np.float64)


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
        self, contract: Contract, rows: pd.DataFrame, features: pd.DataFrame, as_of: str
    ) -> "LeakageProbes":
        """Add the probes of a training's data, see `data_probes`.

        Args:
            contract: defines the label, the windows and the limits.
            rows: the decisions with `decision_at` and `known_at`, epoch seconds, and their labels.
            features: rows x features, by name, text as text.
            as_of: the day of the training, such as `2024-01-31`.

        Returns:
            These probes and the added ones.
        """
        windows = windows_at(rows, contract.split, epoch_of(as_of))
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
) -> Probe:
    """Rebuild features after scrambling all that became known after a given time; no feature may change.

    This covers all later events, and all columns of rows that are not in the contract, such as the label. The
    time when an event was known comes from the contract, not from the feature code. Kaufman et al. (2012),
    Leakage in Data Mining, call this the no-time-machine requirement.
    """
    generator = np.random.default_rng(0)
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
    probe = "target is not rebuilt"
    # Rows are ordered by label, equal ones at random, so that both halves have rows of each class.
    order = np.lexsort((np.random.default_rng(0).permutation(len(label)), label))
    features, label = features.iloc[order], label[order]
    if _is_constant(label[1::2]):
        return _not_applicable(probe, "all rows tested on have the same label")
    strongest, where = measure.no_signal, "none"
    for name, values in features.items():
        for reading, strength in measure.of_feature(values, label):
            if strength > strongest:
                strongest, where = strength, f"{name}{reading}"
    result = f"the strongest single feature, {where}, has {measure.name} {strongest:.3f}"
    if measure.limit is None:
        return _not_applicable(probe, f"{result}, and the contract sets no limit")
    return Probe(probe, strongest < measure.limit, f"{result}; from {measure.limit:g} a leak is suspected")


def shuffled_labels_give_chance(
    learn: Learn, features: Any, label: Any, windows: TemporalSplit, measure: Measure
) -> Probe:
    """Check that a model trained on shuffled labels predicts a later window no better than chance.

    This is one draw of a permutation test (Ojala and Garriga 2010), compared with the theoretical limits.
    """
    probe = "shuffled labels give chance"
    fold = windows.folds[-1]
    train = fold.train[-PROBED_ROWS:]
    shuffled = np.random.default_rng(0).permutation(label)
    truth = shuffled[fold.valid]
    if _is_constant(truth):
        return _not_applicable(probe, "all rows tested on have the same label")
    score = measure.of_forecast(learn(features, shuffled, train, fold.valid), truth)
    no_signal, chance = measure.no_signal, measure.chance(truth)
    return Probe(
        probe,
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


def _is_constant(label: Any) -> bool:
    return len(np.unique(label)) <= 1


def _not_applicable(name: str, reason: str) -> Probe:
    return Probe(name, passed=True, sentence=f"not applicable: {reason}", applicable=False)


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
