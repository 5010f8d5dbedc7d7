"""An artifact on a window of time: scores with intervals over days, slices and curves."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.calibration import expected_cost
from fivestage.artifact.required_features import require_names
from fivestage.common.clock import DAY
from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import Contract
from fivestage.contract.cost_model import cost_model_of
from fivestage.data.labels import labels_of
from fivestage.evaluation.classification_metrics import BINS
from fivestage.evaluation.daily import DECISIONS
from fivestage.evaluation.metrics import Answers, Scored, by_slice, evaluate
from fivestage.evaluation.task_evaluation import evaluation_of
from fivestage.features.offline import feature_matrix

IMPORTANCE_ROWS = 5_000


@dataclass(frozen=True)
class Evaluation:
    """How good an artifact is on one window."""

    scored: Scored
    slices: dict[str, dict[str, Scored]]
    calibration: list[tuple[float, float, int, str]]  # predicted, observed, rows, and of what
    cost_curve: list[tuple[float, float]]  # threshold or move, cost per 1,000 decisions


def artifact_forecast(artifact: Artifact, features: pd.DataFrame) -> Floats:
    """The artifact's own forecasts for rows of features.

    Args:
        artifact: whose models, categories and calibration are used.
        features: rows x features, by name, text as text; columns that the artifact does not use are ignored.

    Returns:
        Calibrated forecasts, float64, in the shape of the task (`fivestage.contract.cost_model`).

    Raises:
        MissingFeatureError: when there is no column for one of the artifact's features.
    """
    return artifact.scorer.forecast(_numbers(artifact, features))


def answers_of(artifact: Artifact, features: pd.DataFrame) -> Answers:
    """What the artifact answers to rows of features.

    Args:
        artifact: which forecasts, and whose costs decide.
        features: rows x features, as `artifact_forecast` takes them.

    Returns:
        Forecasts, one decision a row and, for regression, each row's expected cost in the costs' currency.

    Raises:
        MissingFeatureError: as `artifact_forecast` does.
    """
    return answers_by_forecast(artifact, artifact_forecast(artifact, features))


def answers_by_forecast(artifact: Artifact, forecast: Floats) -> Answers:
    """What the artifact decides by forecasts of its own."""
    return Answers(forecast, artifact.decide(forecast), expected_cost(artifact.calibration, forecast))


def evaluate_window(
    artifact: Artifact, rows: pd.DataFrame, forecast: Floats, contract: Contract
) -> Evaluation:
    """Scores, slices and curves of an artifact's answers to rows whose labels are known.

    Intervals are percentiles over resampled days, widened for few days (Hesterberg 2015).

    Args:
        artifact: what made the forecasts; it decides by them.
        rows: rows of the window, with labels, `decision_at` (epoch seconds) and the contract's slices.
        forecast: calibrated forecasts of these rows, as `artifact_forecast` returns them.
        contract: tells the task, the costs, the slices and how many rows a slice needs.

    Returns:
        Scores with 95% intervals, of all and by slice and UTC month; costs are per 1,000 decisions.

    Raises:
        ValueError: for no rows, or labels or forecasts that cannot be scored.
    """
    label, day, costs = labels_of(rows, contract), decision_day(rows), contract.costs
    decision = artifact.decide(forecast)
    slices = slices_of(rows, forecast, decision, contract)
    month = pd.to_datetime(rows["decision_at"], unit="s").dt.strftime("%Y-%m").to_numpy()
    by_month = by_slice(month, label, forecast, day, costs, decision=decision)
    slices["month"] = dict(sorted(by_month.items()))  # as time goes, not by rows
    money, judged = cost_model_of(costs), evaluation_of(contract)
    return Evaluation(
        scored=evaluate(label, forecast, day, costs, decision=decision),
        slices=slices,
        calibration=[
            (*point, of)
            for of, (came, told) in judged.calibration_pairs(label, forecast).items()
            for point in reliability(came, told)
        ],
        cost_curve=[
            (float(at), float(money.price(label, one).mean()) * DECISIONS)
            for at, one in judged.alternative_decisions(forecast)
        ],
    )


def slices_of(
    rows: pd.DataFrame, forecast: Floats, decision: Any, contract: Contract
) -> dict[str, dict[str, Scored]]:
    """Scores where each of the contract's slices has a value with rows enough."""
    label, day, costs = labels_of(rows, contract), decision_day(rows), contract.costs
    least = contract.gates.min_slice_rows
    return {
        column: by_slice(
            rows[column].to_numpy(), label, forecast, day, costs, decision=decision, min_rows=least
        )
        for column in contract.slices
        if len(rows)
    }


def reliability(label: Floats, told: Floats) -> list[tuple[float, float, int]]:
    """Mean forecast, mean label and number of rows in bins of equal mass; equal forecasts share a bin."""
    edges = np.quantile(told, np.arange(1, BINS) / BINS)
    bins = np.searchsorted(edges, told)
    rows = np.bincount(bins)
    predicted, observed = np.bincount(bins, told), np.bincount(bins, label)
    return [
        (float(predicted[here] / rows[here]), float(observed[here] / rows[here]), int(rows[here]))
        for here in np.flatnonzero(rows)
    ]


def importance(artifact: Artifact, features: pd.DataFrame, label: Any, seed: int = 0) -> dict[str, float]:
    """How much the loss rises when a feature's values are shuffled among some rows (Breiman 2001).

    Of probabilities the log-loss, of numbers the root of the mean squared error.

    Args:
        artifact: what is asked.
        features: rows x features, by name, text as text; at most 5,000 rows of them are drawn.
        label: one number a row, as `labels_of` returns them.
        seed: of the draw of rows and of the shuffles.

    Returns:
        By feature, the rise of the loss: in nats of probabilities, in the label's unit of numbers.
    """
    generator = np.random.default_rng(seed)
    some = generator.choice(len(features), min(IMPORTANCE_ROWS, len(features)), replace=False)
    numbers, truth = _numbers(artifact, features.iloc[some]), label[some]
    scorer, loss = artifact.scorer, evaluation_of(artifact.contract).loss
    whole = loss(truth, scorer.forecast(numbers))
    found = {}
    for place, name in enumerate(artifact.features):
        shuffled = numbers.copy()
        shuffled[:, place] = generator.permutation(numbers[:, place])
        found[name] = loss(truth, scorer.forecast(shuffled)) - whole
    return found


def decision_day(rows: pd.DataFrame) -> Ints:
    """The UTC day of each decision.

    Args:
        rows: rows with `decision_at`, epoch seconds.

    Returns:
        One number a row, int64: whole days since 1970-01-01.
    """
    return (rows["decision_at"] // DAY).to_numpy(dtype=np.int64)


def _numbers(artifact: Artifact, features: pd.DataFrame) -> Floats:
    require_names(artifact, features.columns)
    categories = {name: dict(codes) for name, codes in artifact.categories.items()}
    return feature_matrix(features[list(artifact.features)], categories)
