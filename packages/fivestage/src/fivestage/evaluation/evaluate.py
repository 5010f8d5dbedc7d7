"""Evaluates an artifact on a time window: metrics with intervals over days, slices and curves."""

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
from fivestage.evaluation.metrics import (
    Answers,
    CalibrationPoint,
    CostPoint,
    Metrics,
    Slice,
    by_slice,
    evaluate,
)
from fivestage.evaluation.task_evaluation import alternative_decisions, calibration_pairs, loss
from fivestage.features.offline import feature_matrix

IMPORTANCE_ROWS = 5_000
MISSING = "missing"  # the slice of the rows without a value


@dataclass(frozen=True)
class Evaluation:
    """The metrics of an artifact on one window."""

    metrics: Metrics
    slices: tuple[Slice, ...]  # of the contract's columns, and of the months
    calibration: tuple[CalibrationPoint, ...]  # the reliability diagram
    cost_curve: tuple[CostPoint, ...]  # other decision rules, and the version's own


def artifact_forecast(artifact: Artifact, features: pd.DataFrame) -> Floats:
    """Return the artifact's forecasts for rows of features.

    Args:
        artifact: its models, categories and calibration are used.
        features: rows x features, by name, text as text; columns that the artifact does not use are ignored.

    Returns:
        Calibrated forecasts, float64, in the shape of the task (`fivestage.contract.cost_model`).

    Raises:
        MissingFeatureError: if one of the artifact's features has no column.
    """
    return artifact.scorer.forecast(_encoded(artifact, features))


def answers_of(artifact: Artifact, features: pd.DataFrame) -> Answers:
    """Return the artifact's forecasts and decisions for rows of features.

    Args:
        artifact: makes the forecasts, and decides by the costs of its contract.
        features: rows x features, as for `artifact_forecast`.

    Returns:
        Forecasts, one decision per row and, for regression, each row's expected cost in the costs' currency.

    Raises:
        MissingFeatureError: as in `artifact_forecast`.
    """
    return answers_by_forecast(artifact, artifact_forecast(artifact, features))


def answers_by_forecast(artifact: Artifact, forecast: Floats) -> Answers:
    """Return the artifact's decisions for its own forecasts."""
    return Answers(forecast, artifact.decide(forecast), expected_cost(artifact.calibration, forecast))


def evaluate_window(
    artifact: Artifact, rows: pd.DataFrame, forecast: Floats, contract: Contract
) -> Evaluation:
    """Compute metrics, slices and curves of an artifact's forecasts and decisions for rows with labels."""
    label, day, costs = labels_of(rows, contract), decision_day(rows), contract.costs
    decision = artifact.decide(forecast)
    month = rows["decision_at"].to_numpy().astype("datetime64[s]").astype("datetime64[M]")
    by_month = by_slice(month, label, forecast, day, costs, decision=decision)
    cost_model = cost_model_of(costs)
    return Evaluation(
        metrics=evaluate(label, forecast, day, costs, decision=decision),
        slices=(
            *slices_of(rows, forecast, decision, contract),
            *(Slice.of("month", *one) for one in sorted(by_month.items())),  # not by number of rows
        ),
        calibration=tuple(
            point
            for name, (outcome, prediction) in calibration_pairs(contract, label, forecast).items()
            for point in reliability(outcome, prediction, name)
        ),
        cost_curve=tuple(
            CostPoint(float(setting), float(cost_model.price(label, alternative).mean()) * DECISIONS)
            for setting, alternative in alternative_decisions(artifact.contract, forecast)
        ),
    )


def slice_values(rows: pd.DataFrame, column: str) -> "pd.Series[Any]":
    """Return the slice of each row; rows without a value are a slice too."""
    return rows[column].astype(object).fillna(MISSING)


def slices_of(rows: pd.DataFrame, forecast: Floats, decision: Any, contract: Contract) -> tuple[Slice, ...]:
    """Compute the metrics of each slice in the contract, for values with enough rows."""
    if rows.empty:
        return ()
    scored = labels_of(rows, contract), forecast, decision_day(rows), contract.costs
    least = contract.gates.min_slice_rows
    return tuple(
        Slice.of(column, value, metrics)
        for column in contract.slices
        for value, metrics in by_slice(
            slice_values(rows, column).to_numpy(),
            *scored,
            decision=decision,
            min_rows=least,
        ).items()
    )


def reliability(label: Floats, prediction: Floats, of: str = "") -> list[CalibrationPoint]:
    """Return mean prediction, mean label and rows in bins of equal mass; equal predictions share a bin."""
    edges = np.quantile(prediction, np.arange(1, BINS) / BINS)
    bins = np.searchsorted(edges, prediction)
    rows = np.bincount(bins)
    predicted, observed = np.bincount(bins, prediction), np.bincount(bins, label)
    return [
        CalibrationPoint(
            float(predicted[here] / rows[here]), float(observed[here] / rows[here]), int(rows[here]), of
        )
        for here in np.flatnonzero(rows)
    ]


def importance(artifact: Artifact, features: pd.DataFrame, label: Any) -> dict[str, float]:
    """Compute permutation importance: the increase of the loss when a feature is shuffled (Breiman 2001)."""
    generator = np.random.default_rng(0)
    drawn = generator.choice(len(features), min(IMPORTANCE_ROWS, len(features)), replace=False)
    encoded, truth = _encoded(artifact, features.iloc[drawn]), label[drawn]
    contract, scorer = artifact.contract, artifact.scorer
    unshuffled = loss(contract, truth, scorer.forecast(encoded))
    increases = {}
    for column, name in enumerate(artifact.features):
        shuffled = encoded.copy()
        shuffled[:, column] = generator.permutation(encoded[:, column])
        increases[name] = loss(contract, truth, scorer.forecast(shuffled)) - unshuffled
    return increases


def decision_day(rows: pd.DataFrame) -> Ints:
    """Return the UTC day of each decision, as the number of days since 1970-01-01."""
    return (rows["decision_at"] // DAY).to_numpy(dtype=np.int64)


def _encoded(artifact: Artifact, features: pd.DataFrame) -> Floats:
    require_names(artifact, features.columns)
    categories = {name: dict(codes) for name, codes in artifact.categories.items()}
    return feature_matrix(features[list(artifact.features)], categories)
