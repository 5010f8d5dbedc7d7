"""Is what was served what the warehouse says? Inputs as they came, and answers as they went, against both."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fivestage.artifact.artifact import Artifact
from fivestage.contract.contract import Contract
from fivestage.evaluation.daily import Floats
from fivestage.evaluation.evaluate import artifact_forecast
from fivestage.monitoring.causes import Cause

LARGEST = 1e-6  # between an answer and what the same version gives offline


def forecasts_in(log: pd.DataFrame, column: str = "forecast") -> Floats:
    """What was answered to logged rows, see `fivestage.contract.cost_model`."""
    found = np.array(log[column].tolist(), dtype=np.float64)
    return found[:, 0] if found.shape[1] == 1 else found


def differences(log: pd.DataFrame, features: pd.DataFrame, artifacts: Mapping[str, Artifact]) -> Floats:
    """Between each forecast served and what the same version gives offline, as a share where that is > 1."""
    found = np.zeros(len(log))
    for version, artifact in artifacts.items():
        served_by = (log["model_version"] == version).to_numpy()
        if served_by.any():
            offline = artifact_forecast(artifact, features[served_by]).reshape(served_by.sum(), -1)
            served = forecasts_in(log[served_by]).reshape(offline.shape)
            off = np.abs(offline - served) / np.maximum(1, np.abs(offline))
            found[served_by] = off.max(axis=1)
    return found


def skew(log: pd.DataFrame, rows: pd.DataFrame, difference: Floats, contract: Contract) -> tuple[Cause, ...]:
    """A cause for each input that came otherwise than the data have it, or for answers that differ."""
    found = []
    for name in contract.columns:
        came, known = (frame[name].reset_index(drop=True) for frame in (log, rows))
        came = came.mask(came == "")  # as the service logs a category that is missing
        other = ((came != known) & ~(came.isna() & known.isna())).to_numpy()
        if other.any():
            first = int(np.flatnonzero(other)[0])
            sentence = (
                f"{name}: {other.mean():.1%} of requests came with another value than the data have, "
                f"such as {_words(came[first])} for {_words(known[first])}"
            )
            found.append(Cause("data broken", name, sentence))
    off = difference > LARGEST
    if off.any() and not found:
        sentence = (
            f"{off.mean():.1%} of answers differ from what the same model says of the data, "
            f"by up to {difference.max():.3f}: the service received other events, or received them later"
        )
        found.append(Cause("data broken", "the answers", sentence))
    return tuple(found)


def _words(value: Any) -> str:
    return "nothing" if pd.isna(value) else str(value)
