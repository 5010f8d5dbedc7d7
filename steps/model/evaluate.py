"""An artifact on a window of time: scores with intervals over days, slices and curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss

from core.clock import DAY
from core.columns import Floats, Ints
from core.contract import Contract
from monitoring.metrics import BINS, DECISIONS, Scored, by_slice, evaluate, expected_costs
from serving.artifact import Artifact
from serving.engine import Scorer
from steps.data.split import Windows
from steps.model.fit import Trees, calibrate, feature_matrix, fit_trees, learn_categories

THRESHOLDS = np.linspace(0.02, 0.9, 45)

IMPORTANCE_ROWS = 5_000


@dataclass(frozen=True)
class Evaluation:
    """How good an artifact is on one window."""

    scored: Scored
    slices: dict[str, dict[str, Scored]]
    calibration: list[tuple[float, float, int]]  # predicted, observed, rows
    cost_curve: list[tuple[float, float]]  # threshold, cost per 1,000 decisions


def artifact_probability(artifact: Artifact, features: pd.DataFrame) -> Floats:
    """The artifact's own answers for rows of features."""
    return Scorer(artifact.model, artifact.calibration).probability(_numbers(artifact, features))


def evaluate_window(
    artifact: Artifact, rows: pd.DataFrame, probability: Floats, contract: Contract
) -> Evaluation:
    """Scores, slices and curves of an artifact's answers to rows whose labels are known."""
    label = rows[contract.label.name].to_numpy(dtype=np.int64)
    day = decision_day(rows)
    slices = {
        column: by_slice(
            rows[column].to_numpy(),
            label,
            probability,
            day,
            contract.costs,
            threshold=artifact.threshold,
            min_rows=contract.gates.min_slice_rows,
        )
        for column in contract.slices
    }
    month = pd.to_datetime(rows["decision_at"], unit="s").dt.strftime("%Y-%m").to_numpy()
    slices["month"] = by_slice(month, label, probability, day, contract.costs, threshold=artifact.threshold)
    return Evaluation(
        scored=evaluate(label, probability, day, contract.costs, threshold=artifact.threshold),
        slices=slices,
        calibration=reliability(label, probability),
        cost_curve=[
            (float(t), float(expected_costs(label, probability >= t, contract.costs).mean()) * DECISIONS)
            for t in THRESHOLDS
        ],
    )


def reliability(label: Ints, probability: Floats) -> list[tuple[float, float, int]]:
    """Mean prediction, rate and number of rows in bins of equal mass; equal predictions share a bin."""
    edges = np.quantile(probability, np.arange(1, BINS) / BINS)
    bins = np.searchsorted(edges, probability)
    rows = np.bincount(bins)
    predicted, observed = np.bincount(bins, probability), np.bincount(bins, label)
    return [
        (float(predicted[here] / rows[here]), float(observed[here] / rows[here]), int(rows[here]))
        for here in np.flatnonzero(rows)
    ]


def ablation(
    features: pd.DataFrame,
    sets: Mapping[str, Sequence[str]],
    rows: pd.DataFrame,
    windows: Windows,
    trees: Trees,
    contract: Contract,
) -> list[tuple[str, Scored]]:
    """The same trees on ever more feature sets: calibrated on the contest window, scored on what came after.

    All sets together are left out: they are the artifact.
    """
    label = rows[contract.label.name].to_numpy(dtype=np.int64)
    day = decision_day(rows)[windows.after]
    numbers = feature_matrix(features, learn_categories(features.iloc[windows.train]))
    columns = {name: place for place, name in enumerate(features)}
    steps = [list(sets)[: number + 1] for number in range(len(sets) - 1)]
    chosen = [[columns[name] for part in step for name in sets[part]] for step in steps]
    found = [_trained(numbers[:, places], label, windows, trees) for places in chosen]
    return [
        (" + ".join(step), evaluate(label[windows.after], probability, day, contract.costs))
        for step, probability in zip(steps, found, strict=True)
    ]


def importance(artifact: Artifact, features: pd.DataFrame, label: Ints, seed: int = 0) -> dict[str, float]:
    """How much the log-loss rises when a feature's values are shuffled among some rows (Breiman 2001)."""
    generator = np.random.default_rng(seed)
    some = generator.choice(len(features), min(IMPORTANCE_ROWS, len(features)), replace=False)
    numbers, truth = _numbers(artifact, features.iloc[some]), label[some]
    scorer = Scorer(artifact.model, artifact.calibration)
    whole = log_loss(truth, scorer.probability(numbers))
    found = {}
    for place, name in enumerate(artifact.features):
        shuffled = numbers.copy()
        shuffled[:, place] = generator.permutation(numbers[:, place])
        found[name] = float(log_loss(truth, scorer.probability(shuffled)) - whole)
    return found


def decision_day(rows: pd.DataFrame) -> Ints:
    """The UTC day of each decision."""
    return (rows["decision_at"] // DAY).to_numpy(dtype=np.int64)


def _numbers(artifact: Artifact, features: pd.DataFrame) -> Floats:
    categories = {name: dict(codes) for name, codes in artifact.categories.items()}
    return feature_matrix(features[list(artifact.features)], categories)


def _trained(numbers: Floats, label: Ints, windows: Windows, trees: Trees) -> Floats:
    fitted = fit_trees(numbers[windows.train], label[windows.train], trees)
    contest, after = (
        np.ravel(fitted.decision_function(numbers[w])) for w in (windows.contest, windows.after)
    )
    return calibrate(contest, label[windows.contest]).probability(after)
