"""Data shared by the studies: the project's rows, features and windows, computed once."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from fivestage.common.columns import Floats, Ints
from fivestage.common.settings import VAR
from fivestage.contract.contract import Contract
from fivestage.contract.cost_model import cost_model_of
from fivestage.data.event_tables import EventTables
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
    """A year of decisions with their features, split as in the demo."""

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
    """Load rows and compute features, as of the first day of the test window."""
    contract = PROBLEM.contract
    rows, event_tables, _ = EventTables.ingest(
        PROBLEM.load(contract), contract, VAR / "bench" / "quarantine", "bench"
    )
    started = time.process_time()
    features = build_features(PROBLEM.features, rows, event_tables.events, event_tables.reference)
    spent = time.process_time() - started
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


def calibrated_after(study: Studied, holdout: Floats, after: Floats) -> Floats:
    """Return probabilities of the rows after the holdout window, from margins calibrated on it."""
    label = study.sample.label[study.windows.holdout]
    return trainer_of(study.contract).calibrate(holdout, label).forecast(after)


def margins(probability: Floats) -> Floats:
    """Return the log-odds."""
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def scored(study: Studied, probability: Floats) -> dict[str, dict[str, float]]:
    """Return scores on the rows after the holdout window, with intervals over days."""
    after = study.windows.after
    label, days = study.sample.label[after], study.days[after]
    found = evaluate(label, probability, days, study.contract.costs, draws=DRAWS)
    return {name: asdict(one) for name, one in found.items()}


def saved(study: Studied, before: Floats, now: Floats) -> dict[str, float]:
    """Return the savings of decisions by `now` against `before` per 1,000 decisions, paired by day."""
    after, cost_model = study.windows.after, cost_model_of(study.contract.costs)
    label = study.sample.label[after]
    difference = paired_difference(
        cost_model.price(label, cost_model.decide(before)),
        cost_model.price(label, cost_model.decide(now)),
        study.days[after],
    )
    return {"value": difference.mean, "low": difference.low, "high": difference.high}


def on_folds(study: Studied, answers: list[Floats]) -> dict[str, float]:
    """Return the mean over the folds of each score."""
    labels = [study.sample.label[fold.valid] for fold in study.windows.folds]
    found = [scores(label, one, study.contract.costs) for label, one in zip(labels, answers, strict=True)]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def best_seconds(
    work: Callable[[], Any], repeats: int = BEST_OF, clock: Callable[[], float] = time.thread_time
) -> float:
    """Return the shortest time of several runs, in CPU seconds of this thread by default."""
    found = []
    for _ in range(repeats):
        started = clock()
        work()
        found.append(clock() - started)
    return min(found)
