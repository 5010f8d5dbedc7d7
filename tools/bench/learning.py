"""Learning curve: trees trained on shares of the default data, selected in several ways."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from fivestage.common.columns import Floats, Ints
from fivestage.common.settings import VAR
from fivestage.data.event_tables import EventTables
from fivestage.data.splits import windows_at
from fivestage.evaluation.evaluate import decision_day
from fivestage.evaluation.metrics import scores
from fivestage.features.offline import build_features
from fivestage.training.estimators import Estimator, fit_classifier, with_settings
from fivestage.training.sample import training_sample
from problem import PROBLEM

SHARES = (0.05, 0.1, 0.2, 0.5)  # of the training rows
QUARTERS = 4
SEED = 0


@dataclass(frozen=True)
class Learnt:
    """Scores of the trees on all later rows."""

    chosen: str
    rows: int
    log_loss: float
    roc_auc: float
    savings_share: float


def learning_curve() -> Iterator[Learnt]:
    """Train as of the start of the test window, and score on the holdout window and all later rows."""
    contract = PROBLEM.contract
    rows, event_tables, _ = EventTables.ingest(
        PROBLEM.load(contract), contract, VAR / "bench" / "quarantine", "bench"
    )
    as_of = contract.split.test_start_at
    windows = windows_at(rows, contract.split, as_of)
    features = build_features(PROBLEM.features, rows, event_tables.events, event_tables.reference)
    sample, days = training_sample(rows, features, windows, contract), decision_day(rows)
    candidates = PROBLEM.candidates(len(windows.train), tuple(sample.categories))
    evaluated, trees = np.concatenate([windows.holdout, windows.after]), next(iter(candidates.values()))

    def scored(chosen: str, train: Ints, model: HistGradientBoostingClassifier) -> Learnt:
        answers = model.predict_proba(sample.features[evaluated])[:, 1]
        found = scores(sample.label[evaluated], answers, contract.costs)
        return Learnt(chosen, len(train), found["log_loss"], found["roc_auc"], found["savings_share"])

    for share in SHARES:
        for chosen, train in choices(windows.train, days[windows.train], share).items():
            yield scored(chosen, train, fit_classifier(trees, sample.features[train], sample.label[train]))
    all_rows = windows.train
    yield scored(
        "all rows", all_rows, fit_classifier(trees, sample.features[all_rows], sample.label[all_rows])
    )
    quarters = np.array_split(np.random.default_rng(SEED).permutation(all_rows), QUARTERS)
    model = in_turn([(sample.features[one], sample.label[one]) for one in quarters], trees)
    yield scored("all rows, a quarter after another (warm_start)", all_rows, model)


def choices(train: Ints, days: Ints, share: float) -> dict[str, Ints]:
    """Select a share of the training rows, in each way."""
    draw = np.random.default_rng(SEED)
    distinct = np.unique(days)
    count = max(1, round(len(distinct) * share))
    return {
        "rows at random": train[draw.random(len(train)) < share],
        "days at random": train[np.isin(days, draw.choice(distinct, count, replace=False))],
        "the newest days": train[np.isin(days, distinct[-count:])],
    }


def in_turn(parts: list[tuple[Floats, Ints]], trees: Estimator) -> HistGradientBoostingClassifier:
    """Train in turn on each part, which adds its share of the trees (warm start)."""
    first, *others = parts
    model = fit_classifier(with_settings(trees, {"max_iter": trees.max_iter // len(parts)}), *first)
    model.set_params(warm_start=True)
    for number, part in enumerate(others, 2):
        model.set_params(max_iter=trees.max_iter * number // len(parts))
        model.fit(*part)
    return model
