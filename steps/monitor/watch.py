"""One period of service, from the prediction log: what came in, how it went, and whether it moved."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from core.clock import DAY
from core.contract import LEAST_REFERENCE, Contract, iso
from core.errors import UserError
from monitoring.causes import Cause, causes
from monitoring.concept import ConceptReport
from monitoring.days import Floats
from monitoring.distances import Window
from monitoring.drift import DriftReport, detect_drift, joined
from monitoring.drift_page import write_drift_page
from monitoring.performance import Performance, judge
from monitoring.tasks import concept_drift, score_columns
from serving.artifact import Artifact
from serving.log import open_store, predictions
from steps.deploy.service import largest_difference
from steps.model.evaluate import answers_of, artifact_forecast, decision_day
from steps.model.sample import labels_of

EFFECT_ROWS = 2_000
SCORE_SHARE = 0.1  # of the chance of a false alarm; the inputs have the rest


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
    causes: tuple[Cause, ...] = ()


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
    later = log["number"][at >= end]  # for the next period to read, which may be over as well
    last = later.min() - 1 if len(later) else log["number"].max()
    return Served(start, end, inside, int(last))


def reaches(database: str, contract: Contract, moment: int, heard: int) -> bool:
    """Whether the prediction log goes on to a moment, after number `heard`."""
    lead, time_column = contract.decision.lead_seconds, contract.decision.time_column
    with closing(open_store(database)) as store:
        return any(one[time_column] - lead >= moment for one in predictions(store, contract, heard))


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
    _require_known(contract.monitoring.unwatched, features)
    current, seen = rows.iloc[places], features.iloc[places]
    before = np.flatnonzero(
        (rows["decision_at"] >= start - contract.monitoring.reference_days * DAY)
        & (rows["decision_at"] < start)
        & (rows["known_at"] < end)
    )
    newest = artifacts[log["model_version"].iloc[-1]]
    usual = rows.iloc[before]
    forecast = forecasts_in(log)
    performance = judge(
        labels_of(current, contract),
        (current["known_at"] < end).to_numpy(),
        answers_of(newest, forecast),
        decision_day(current),
        labels_of(usual, contract),
        contract,
    )
    drift, reference, window = _drift(features, rows, before, places, forecast, newest, contract)
    write_drift_page(drift, reference, window, page)
    known = np.flatnonzero((current["known_at"] < end).to_numpy())
    enough = len(known) >= contract.monitoring.min_label_share * len(places)
    concept = (
        _concept(features, rows, before, places[known], forecast[known], newest, contract) if enough else None
    )
    effects = _effects(drift, features, before, places, newest)
    return Watched(
        start,
        end,
        tuple(dict.fromkeys(log["model_version"])),
        performance,
        drift,
        len(log),
        _largest_difference(log, seen, artifacts),
        served.last_number,
        causes(drift, concept, performance, effects, window.first, contract.costs.currency),
    )


def forecasts_in(log: pd.DataFrame) -> Floats:
    """What was answered to logged rows, see `core.money`."""
    found = np.array(log["forecast"].tolist(), dtype=np.float64)
    return found[:, 0] if found.shape[1] == 1 else found


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


def _drift(
    features: pd.DataFrame,
    rows: pd.DataFrame,
    before: np.ndarray,
    places: np.ndarray,
    forecast: Floats,
    newest: Artifact,
    contract: Contract,
) -> tuple[DriftReport, Window, Window]:
    """Inputs against the days before; the score against those of them that the model was not trained on.

    Where too few such days are there yet, the score is not watched.
    """
    rules = contract.monitoring
    watched = [name for name in features if name not in rules.unwatched]
    reference = _window(features.iloc[before][watched], rows.iloc[before])
    window = _window(features.iloc[places][watched], rows.iloc[places])
    unlearnt = before[rows["decision_at"].to_numpy()[before] >= newest.trained_until]
    days = np.unique(decision_day(rows.iloc[unlearnt])).size
    if days < LEAST_REFERENCE * window.days:
        return detect_drift(reference, window, rules.false_alarm), reference, window
    offline = artifact_forecast(newest, features.iloc[unlearnt])
    usual = _window(score_columns(offline, contract), rows.iloc[unlearnt])
    score = _window(score_columns(forecast, contract), rows.iloc[places])
    drift = joined(
        [
            detect_drift(reference, window, (1 - SCORE_SHARE) * rules.false_alarm),
            detect_drift(usual, score, SCORE_SHARE * rules.false_alarm),
        ]
    )
    return drift, reference, window


def _concept(
    features: pd.DataFrame,
    rows: pd.DataFrame,
    before: np.ndarray,
    places: np.ndarray,
    forecast: Floats,
    newest: Artifact,
    contract: Contract,
) -> ConceptReport | None:
    """Rows whose labels are there against days that the model has not learnt; None if those are few."""
    rules = contract.monitoring
    unlearnt = before[rows["decision_at"].to_numpy()[before] >= newest.trained_until]
    if not len(unlearnt):
        return None
    watched = [name for name in features if name not in rules.unwatched]
    reference = _window(features.iloc[unlearnt][watched], rows.iloc[unlearnt])
    window = _window(features.iloc[places][watched], rows.iloc[places])
    if reference.days < LEAST_REFERENCE * window.days:
        return None
    offline = artifact_forecast(newest, features.iloc[unlearnt])
    then, now = labels_of(rows.iloc[unlearnt], contract), labels_of(rows.iloc[places], contract)
    return concept_drift(reference, window, (then, now), (offline, forecast), contract)


def _effects(
    drift: DriftReport, features: pd.DataFrame, before: np.ndarray, places: np.ndarray, newest: Artifact
) -> dict[str, float]:
    """By how much each moved column moves the mean forecast: with its values, and with those before."""
    draw = np.random.default_rng(0)
    current = features.iloc[draw.choice(places, min(EFFECT_ROWS, len(places)), replace=False)]
    usual = features.iloc[draw.choice(before, len(current))]
    now = _means(artifact_forecast(newest, current))
    found = {}
    for name in drift.drifted:
        if name in newest.features:
            asked = current.assign(**{name: usual[name].to_numpy()})
            moved = now - _means(artifact_forecast(newest, asked))
            found[name] = float(moved[np.abs(moved).argmax()])
    return found


def _means(forecast: Floats) -> Floats:
    """The mean forecast; of classes each one's, of numbers that of the value."""
    return np.asarray(forecast.reshape(len(forecast), -1).mean(axis=0), dtype=np.float64)


def _require_known(unwatched: tuple[str, ...], features: pd.DataFrame) -> None:
    """Raise where the contract leaves out of the watch what is no feature."""
    unknown = [name for name in unwatched if name not in features]
    if unknown:
        raise UserError(
            f"monitoring.unwatched names {', '.join(unknown)}, which are no features: "
            "mend the names in problem/problem.yaml."
        )


def _window(frame: pd.DataFrame, rows: pd.DataFrame) -> Window:
    day = decision_day(rows)
    return Window(frame, day, int(day.min()), int(day.max() - day.min() + 1))


def _largest_difference(log: pd.DataFrame, features: pd.DataFrame, artifacts: dict[str, Artifact]) -> float:
    """Between the forecasts that were served and those the same versions give offline."""
    worst = 0.0
    for version, artifact in artifacts.items():
        served_by = (log["model_version"] == version).to_numpy()
        if served_by.any():
            offline = artifact_forecast(artifact, features[served_by])
            worst = max(worst, largest_difference(forecasts_in(log[served_by]), offline))
    return worst
