"""One period of service, from the prediction log: what came in, how it went, and whether it moved."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from core.clock import DAY
from core.contract import Contract, iso
from core.errors import UserError
from monitoring.distances import Window
from monitoring.drift import DriftReport, detect_drift
from monitoring.drift_page import write_drift_page
from monitoring.metrics import Floats
from monitoring.performance import Performance, judge
from serving.artifact import Artifact
from serving.log import open_store, predictions
from steps.model.evaluate import artifact_probability, decision_day

SCORE = "probability"


@dataclass(frozen=True)
class Watched:
    """What is known of a period at its end."""

    start: int
    end: int
    versions: tuple[str, ...]
    performance: Performance
    drift: DriftReport
    compared: int
    largest_difference: float  # between what was served and what the artifact answers offline
    last_number: int  # of the prediction log


@dataclass(frozen=True)
class Served:
    """Logged predictions whose decisions fell into [start, end)."""

    start: int
    end: int
    log: pd.DataFrame
    last_number: int


def read_served(database: str, contract: Contract, start: int, end: int, heard: int) -> Served:
    """What the prediction log tells of a period, from after number `heard` on."""
    with closing(open_store(database)) as store:
        log = pd.DataFrame(predictions(store, contract, heard))
    if log.empty:
        return Served(start, end, log, heard)
    at = log[contract.decision.time_column] - contract.decision.lead_seconds
    inside = log[(at >= start) & (at < end)].drop_duplicates(list(contract.identity), keep="last")
    return Served(start, end, inside, int(log["number"].max()))


def watch(
    rows: pd.DataFrame,
    features: pd.DataFrame,
    served: Served,
    artifacts: dict[str, Artifact],
    contract: Contract,
    page: Path,
) -> Watched:
    """Performance on the labels known at the period's end, and drift against the days before its start.

    `rows` and `features` are the warehouse's; of them, only what was known at the end is looked at.

    Raises:
        UserError: when the log holds no prediction of the period.
    """
    start, end, log = served.start, served.end, served.log
    if log.empty:
        raise UserError(
            f"The prediction log holds nothing decided from {iso(start)} to {iso(end)}. Is the service asked?"
        )
    places = _places(rows, log, contract, start, end)
    current, seen = rows.iloc[places], features.iloc[places]
    before = np.flatnonzero(
        (rows["decision_at"] >= start - contract.monitoring.reference_days * DAY)
        & (rows["decision_at"] < start)
        & (rows["known_at"] < end)
    )
    newest = artifacts[log["model_version"].iloc[-1]]
    usual = rows.iloc[before]
    probability = log["probability"].to_numpy()
    performance = judge(
        current[contract.label.name].to_numpy(dtype=np.int64),
        (current["known_at"] < end).to_numpy(),
        probability,
        decision_day(current),
        float(usual[contract.label.name].mean()),
        contract,
        newest.threshold,
    )
    watched = [name for name in features if name not in contract.monitoring.unwatched]
    reference = _window(
        features.iloc[before][watched], artifact_probability(newest, features.iloc[before]), usual
    )
    window = _window(seen[watched], probability, current)
    drift = detect_drift(reference, window, contract.monitoring.false_alarm)
    write_drift_page(drift, reference, window, page)
    return Watched(
        start,
        end,
        tuple(dict.fromkeys(log["model_version"])),
        performance,
        drift,
        len(log),
        _largest_difference(log, seen, artifacts),
        served.last_number,
    )


def _places(rows: pd.DataFrame, log: pd.DataFrame, contract: Contract, start: int, end: int) -> np.ndarray:
    """Where in the warehouse each logged row is.

    Raises:
        UserError: when the warehouse does not have one.
    """
    identity = list(contract.identity)
    near = np.flatnonzero((rows["decision_at"] >= start) & (rows["decision_at"] < end))
    known = rows.iloc[near][identity].assign(place=near)
    found = log[identity].merge(known, on=identity, how="left")["place"]
    if found.isna().any():
        raise UserError(
            f"{int(found.isna().sum())} logged predictions are of rows that the data do not have."
        )
    return found.to_numpy(dtype=np.int64)


def _window(features: pd.DataFrame, probability: Floats, rows: pd.DataFrame) -> Window:
    day = decision_day(rows)
    return Window(
        features.assign(**{SCORE: probability}), day, int(day.min()), int(day.max() - day.min() + 1)
    )


def _largest_difference(log: pd.DataFrame, features: pd.DataFrame, artifacts: dict[str, Artifact]) -> float:
    """Between the probabilities that were served and those the same versions give offline."""
    worst = 0.0
    for version, artifact in artifacts.items():
        served_by = (log["model_version"] == version).to_numpy()
        if served_by.any():
            offline = artifact_probability(artifact, features[served_by])
            worst = max(worst, float(np.abs(offline - log["probability"].to_numpy()[served_by]).max()))
    return worst
