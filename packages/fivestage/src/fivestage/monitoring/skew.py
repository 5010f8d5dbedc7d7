"""Training-serving skew: compare logged inputs with the data, and online with offline forecasts."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fivestage.artifact.artifact import Artifact
from fivestage.contract.contract import Column, TimestampColumn, iso
from fivestage.evaluation.daily import Floats
from fivestage.evaluation.evaluate import artifact_forecast
from fivestage.monitoring.causes import Cause

TOLERANCE = 1e-6  # allowed difference between online and offline forecasts of a version


def forecasts_in(log: pd.DataFrame, column: str = "forecast") -> Floats:
    """Return the logged forecasts as an array; `fivestage.contract.cost_model` describes its columns."""
    forecasts = np.array(log[column].tolist(), dtype=np.float64)
    return forecasts[:, 0] if forecasts.shape[1] == 1 else forecasts


def differences(log: pd.DataFrame, features: pd.DataFrame, artifacts: Mapping[str, Artifact]) -> Floats:
    """Return the difference between online and offline forecasts by row, relative for forecasts above 1.

    A version that needs a feature which is no longer computed is left out.
    """
    largest = np.zeros(len(log))
    for version, artifact in artifacts.items():
        served_by = (log["model_version"] == version).to_numpy()
        if served_by.any() and set(artifact.features) <= set(features):
            offline = artifact_forecast(artifact, features[served_by]).reshape(served_by.sum(), -1)
            served = forecasts_in(log[served_by]).reshape(offline.shape)
            off = np.abs(offline - served) / np.maximum(1, np.abs(offline))
            largest[served_by] = off.max(axis=1)
    return largest


def skew(
    log: pd.DataFrame, rows: pd.DataFrame, difference: Floats, columns: Mapping[str, Column]
) -> tuple[Cause, ...]:
    """Return a cause for each input that differs from the data, or else for differing predictions."""
    logged, known = (frame[[*columns]].reset_index(drop=True) for frame in (log, rows))
    logged = logged.mask(logged == "")  # the service logs missing categories as empty text
    differs, causes = (logged != known) & ~(logged.isna() & known.isna()), []
    for name in differs.columns[differs.any()]:
        first = int(differs[name].to_numpy().argmax())
        was, now = (_words(frame[name][first], columns[name]) for frame in (known, logged))
        sentence = (
            f"{name}: {differs[name].mean():.1%} of requests had a value that differs from the data, "
            f"such as {now} instead of {was}"
        )
        causes.append(Cause("data broken", name, sentence))
    off = difference > TOLERANCE
    if off.any() and not causes:
        sentence = (
            f"{off.mean():.1%} of predictions differ from those of the same model on the data, "
            f"by up to {difference.max():.3f}: the service received other events, or received them later"
        )
        causes.append(Cause("data broken", "the predictions", sentence))
    return tuple(causes)


def _words(value: Any, column: Column) -> str:
    if pd.isna(value):
        return "nothing"
    return iso(int(value)) if isinstance(column, TimestampColumn) else str(value)
