"""What the studies share: rows, features and windows of the project's own data, made once."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from fivestage.common.columns import Floats, Ints
from fivestage.common.settings import VAR
from fivestage.contract.contract import Contract
from fivestage.contract.cost_model import cost_model_of
from fivestage.data.event_tables import EventTables, ingest_tables
from fivestage.data.splits import TemporalSplit, windows_at
from fivestage.evaluation.evaluate import decision_day
from fivestage.evaluation.metrics import evaluate, paired_difference, scores
from fivestage.features.offline import build_features, names_by_set
from fivestage.training.sample import TrainingSample, training_sample
from fivestage.training.task_trainer import trainer_of
from problem import PROBLEM
from problem.candidates import candidates

DRAWS = 200
BEST_OF = 5
USUAL = next(iter(candidates(0, ()).values()))  # the first of the candidates


@dataclass(frozen=True)
class Studied:
    """A year of decisions with their features, cut as the demo cuts it."""

    contract: Contract
    rows: pd.DataFrame
    event_tables: EventTables
    features: pd.DataFrame
    sets: dict[str, tuple[str, ...]]
    windows: TemporalSplit
    sample: TrainingSample
    days: Ints
    feature_seconds: float  # CPU, for all rows


@cache
def studied() -> Studied:
    """Rows and features, as of the first day of the test window."""
    contract = PROBLEM.contract
    rows, event_tables, _ = ingest_tables(
        PROBLEM.load(contract), contract, VAR / "bench" / "quarantine", "bench"
    )
    begun = time.process_time()
    features = build_features(PROBLEM.features, rows, event_tables.events, event_tables.reference)
    spent = time.process_time() - begun
    windows = windows_at(rows, contract.split, contract.split.test_start_at)
    return Studied(
        contract,
        rows,
        event_tables,
        features,
        names_by_set(PROBLEM.features, rows, event_tables.reference),
        windows,
        training_sample(rows, features, windows, contract),
        decision_day(rows),
        spent,
    )


def calibrated_after(given: Studied, holdout: Floats, after: Floats) -> Floats:
    """Probabilities of what came after the holdout window, from margins calibrated on it."""
    label = given.sample.label[given.windows.holdout]
    return trainer_of(given.contract).calibrate(holdout, label).forecast(after)


def margins(probability: Floats) -> Floats:
    """Log-odds."""
    held = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(held / (1 - held)))


def scored(given: Studied, probability: Floats) -> dict[str, dict[str, float]]:
    """Scores on what came after the holdout window, with intervals over days."""
    after = given.windows.after
    found = evaluate(
        given.sample.label[after], probability, given.days[after], given.contract.costs, draws=DRAWS
    )
    return {
        name: {"value": value, "low": found.intervals[name][0], "high": found.intervals[name][1]}
        for name, value in found.scores.items()
    }


def saved(given: Studied, before: Floats, now: Floats) -> dict[str, float]:
    """What deciding by `now` saves against `before`, per 1,000 decisions, paired by day."""
    after, money = given.windows.after, cost_model_of(given.contract.costs)
    label = given.sample.label[after]
    difference = paired_difference(
        money.price(label, money.decide(before)),
        money.price(label, money.decide(now)),
        given.days[after],
    )
    return {"value": difference.mean, "low": difference.low, "high": difference.high}


def on_folds(given: Studied, answers: list[Floats]) -> dict[str, float]:
    """Means over the folds of the scores of each fold's answers."""
    labels = [given.sample.label[fold.valid] for fold in given.windows.folds]
    found = [scores(label, one, given.contract.costs) for label, one in zip(labels, answers, strict=True)]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def best_seconds(
    work: Callable[[], Any], times: int = BEST_OF, clock: Callable[[], float] = time.thread_time
) -> float:
    """The least time of some runs, of this thread's CPU unless another clock is named."""
    found = []
    for _ in range(times):
        begun = clock()
        work()
        found.append(clock() - begun)
    return min(found)
