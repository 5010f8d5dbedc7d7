"""One period of service, from the prediction log: what came in, how it went, and whether it moved."""

import json
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from fivestage.artifact.artifact import Artifact
from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.contract.contract import LEAST_REFERENCE, Contract, day_of, iso
from fivestage.contract.cost_model import cost_model_of
from fivestage.data.labels import labels_of
from fivestage.evaluation.daily import NAN, Floats
from fivestage.evaluation.evaluate import answers_of, artifact_forecast, decision_day, slices_of
from fivestage.evaluation.metrics import Scored
from fivestage.monitoring.causes import Cause, causes
from fivestage.monitoring.concept import ConceptReport
from fivestage.monitoring.distances import WindowCounts
from fivestage.monitoring.drift import ROWS, VOLUME, Change, DriftReport, detect_drift, joined
from fivestage.monitoring.drift_page import write_drift_page
from fivestage.monitoring.effects import effects_of
from fivestage.monitoring.performance import Performance, judge
from fivestage.monitoring.policy import ShadowScore, saved_by_day
from fivestage.monitoring.skew import differences, forecasts_in, skew
from fivestage.monitoring.task_checks import concept_drift, score_columns
from fivestage.serving.log import open_store, predictions

SCORE_SHARE = 0.1  # of the chance of a false alarm; the inputs have the rest
TRIALS = 0.01  # of requests may be made up, as people do who try a service


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
    slices: dict[str, dict[str, Scored]] = field(default_factory=dict)  # by column and level
    shadow: ShadowScore | None = None
    last_shadow: int = 0  # of the challengers' answers

    @property
    def broken(self) -> tuple[str, ...]:
        """What in the data is broken."""
        return tuple(cause.subject for cause in self.causes if cause.kind == "data broken")


@dataclass(frozen=True)
class Served:
    """Logged predictions whose decisions fell into [start, end).

    Where a challenger has answered too, `challenger` names it, and the log has its forecast as `shadow`.
    """

    start: int
    end: int
    log: pd.DataFrame
    last_number: int
    challenger: str = ""
    last_shadow: int = 0
    goes_on: bool = False  # the log, past the end


def read_served(
    database: str, contract: Contract, start: int, end: int, heard: int, shadows_heard: int = 0
) -> Served:
    """What the log tells of a period, from after number `heard` on, with the challenger's answers."""
    with closing(open_store(database)) as store:
        log = pd.DataFrame(predictions(store, contract, heard))
        if log.empty:
            return Served(start, end, log, heard, last_shadow=shadows_heard)
        at = log[contract.decision.time_column] - contract.decision.lead_seconds
        inside = log[(at >= start) & (at < end)].drop_duplicates(list(contract.identity), keep="last")
        later = log["number"][at >= end]  # for the next period to read, which may be over as well
        last = later.min() - 1 if len(later) else log["number"].max()
        asked = set(inside["request_id"])
        shadows = [(number, one) for number, one in store.shadows(shadows_heard) if one.request_id in asked]
    goes_on = bool(len(later))
    if not shadows:
        return Served(start, end, inside, int(last), last_shadow=shadows_heard, goes_on=goes_on)
    last_shadow, newest = shadows[-1]
    told = {
        one.request_id: [row if isinstance(row, list) else [row] for row in json.loads(one.probabilities)]
        for _, one in shadows
        if one.model_version == newest.model_version
    }
    places = zip(inside["request_id"], inside["place"], strict=True)
    answers = pd.Series([told[name][place] if name in told else None for name, place in places], dtype=object)
    inside = inside.assign(shadow=answers.to_numpy())
    return Served(start, end, inside, int(last), newest.model_version, last_shadow, goes_on)


def first_decision(database: str, contract: Contract, since: int) -> int | None:
    """The earliest decision in the prediction log that is not before a moment, epoch seconds."""
    lead, time_column = contract.decision.lead_seconds, contract.decision.time_column
    with closing(open_store(database)) as store:
        at = (one[time_column] - lead for one in predictions(store, contract))
        return min((moment for moment in at if moment >= since), default=None)


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
        UserError: when the log ends before the period begins.
    """
    start, end, log = served.start, served.end, served.log
    if log.empty and served.goes_on:
        return _blind(
            served, "nothing was asked", "none was asked for. Was the service down, or what asks it?"
        )
    if log.empty:
        raise UserError(
            f"The prediction log holds nothing decided from {iso(start)} to {iso(end)}. Is the service asked?"
        )
    places = _places(rows, log, contract, start, end)
    foreign, asked = places < 0, len(places)
    if foreign.all():
        return _blind(served, "no row is known", "the data have none of those that were asked for")
    if foreign.any():
        served = replace(served, log=log[~foreign])
        log, places = served.log, places[~foreign]
    _require_known(contract.monitoring.unwatched, features)
    current, seen = rows.iloc[places], features.iloc[places]
    before = np.flatnonzero(
        (rows["decision_at"] >= start - contract.monitoring.reference_days * DAY)
        & (rows["decision_at"] < start)
    )
    labelled = before[rows["known_at"].to_numpy()[before] < end]
    newest = artifacts[log["model_version"].iloc[-1]]
    _require_days(rows.iloc[before], start, end)
    forecast = forecasts_in(log)
    performance = judge(
        labels_of(current, contract),
        (current["known_at"] < end).to_numpy(),
        answers_of(newest, forecast),
        decision_day(current),
        labels_of(rows.iloc[labelled], contract),
        contract,
    )
    drift, reference, window = _drift(features, rows, before, places, forecast, newest, contract)
    write_drift_page(drift, reference, window, page)
    known = np.flatnonzero((current["known_at"] < end).to_numpy())
    enough = len(known) >= max(1, contract.monitoring.min_label_share * len(places))
    concept = (
        _concept(features, rows, labelled, places[known], forecast[known], newest, contract)
        if enough
        else None
    )
    effects = effects_of(drift.drifted, seen, features.iloc[before], newest, contract)
    difference = differences(log, seen, artifacts)
    found = causes(drift, concept, performance, effects, window.first, contract.costs.currency)
    return Watched(
        start,
        end,
        tuple(dict.fromkeys(log["model_version"])),
        performance,
        drift,
        len(log),
        float(difference.max()),
        served.last_number,
        (*_missing(int(foreign.sum()), asked), *skew(log, current, difference, contract), *found),
        slices_of(current.iloc[known], forecast[known], newest.decide(forecast[known]), contract),
        _shadow(served, current, known, contract),
        served.last_shadow,
    )


def _blind(served: Served, seen: str, why: str) -> Watched:
    """A period in which nothing can be judged, and the sentence that says so."""
    gone, still = Change(1.0, 0.0, drifted=True, broken=True), Change(0.0, 0.0, drifted=False, broken=False)
    sentence = f"{VOLUME}: {why}"
    return Watched(
        served.start,
        served.end,
        (),
        Performance(
            rows=0,
            label_share=0.0,
            scored=None,
            saved=None,
            expected=Scored({"rows": 0.0, "cost_per_1000": NAN}, {}),
            bad=False,
            sentence=seen,
        ),
        DriftReport((), gone, still, 0.0, NAN, (VOLUME,), (VOLUME,), (sentence,)),
        compared=0,
        largest_difference=0.0,
        last_number=served.last_number,
        causes=(Cause("data broken", VOLUME, sentence),),
        last_shadow=served.last_shadow,
    )


def _places(rows: pd.DataFrame, log: pd.DataFrame, contract: Contract, start: int, end: int) -> np.ndarray:
    """Where in the warehouse each logged row is; -1 where it has none, as of a request that was made up."""
    identity = list(contract.identity)
    near = np.flatnonzero((rows["decision_at"] >= start) & (rows["decision_at"] < end))
    known = rows.iloc[near][identity].assign(place=near)
    found = log[identity].merge(known, on=identity, how="left")["place"]
    return found.fillna(-1).to_numpy(dtype=np.int64)


def _missing(foreign: int, asked: int) -> tuple[Cause, ...]:
    """A cause when more rows than trials explain are not in the data."""
    if foreign <= TRIALS * asked:
        return ()
    sentence = (
        f"{ROWS}: {foreign:,} of {asked:,} rows asked for are not in the data. "
        "Is their table whole, and does who asks name them as it does?"
    )
    return (Cause("data broken", ROWS, sentence),)


def _drift(
    features: pd.DataFrame,
    rows: pd.DataFrame,
    before: np.ndarray,
    places: np.ndarray,
    forecast: Floats,
    newest: Artifact,
    contract: Contract,
) -> tuple[DriftReport, WindowCounts, WindowCounts]:
    """Inputs against the days before; the score against those of them that the model was not trained on.

    Where too few such days are there yet, the score is not watched.
    """
    rules = contract.monitoring
    watched = [name for name in features if name not in rules.unwatched]
    order = np.argsort(places, kind="stable")  # that of the rows before: how long values last is watched too
    places, forecast = places[order], forecast[order]
    reference = _window(features.iloc[before][watched], rows.iloc[before])
    window = _window(features.iloc[places][watched], rows.iloc[places])
    unlearnt = before[rows["decision_at"].to_numpy()[before] >= newest.trained_until]
    day = decision_day(rows.iloc[unlearnt])
    if not len(day) or np.ptp(day) + 1 < LEAST_REFERENCE * window.days:
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


def _require_days(before: pd.DataFrame, start: int, end: int) -> None:
    """Raise where too few days lie before a period to know what chance does to one."""
    needed = LEAST_REFERENCE * (end - start) // DAY
    found = start // DAY - int(decision_day(before).min()) if len(before) else 0
    if found < needed:
        raise UserError(
            f"The data have {found} days before {day_of(start)}, and {needed} are needed to compare a period "
            "with: train as of a later day, or lower monitoring.period_days in problem/problem.yaml."
        )


def _require_known(unwatched: tuple[str, ...], features: pd.DataFrame) -> None:
    """Raise where the contract leaves out of the watch what is no feature."""
    unknown = [name for name in unwatched if name not in features]
    if unknown:
        raise UserError(
            f"monitoring.unwatched names {', '.join(unknown)}, which are no features: "
            "mend the names in problem/problem.yaml."
        )


def _window(frame: pd.DataFrame, rows: pd.DataFrame) -> WindowCounts:
    day = decision_day(rows)
    return WindowCounts(frame, day, int(day.min()), int(day.max() - day.min() + 1))


def _shadow(served: Served, rows: pd.DataFrame, known: np.ndarray, contract: Contract) -> ShadowScore | None:
    """What the challenger would have saved on rows whose labels are there and that both have answered."""
    if not served.challenger:
        return None
    log, here = served.log.iloc[known], rows.iloc[known]
    both = log["shadow"].notna().to_numpy()
    log, here = log[both], here[both]
    if log.empty:
        return None
    money, label = cost_model_of(contract.costs), labels_of(here, contract)
    champion, challenger = (
        money.price(label, money.decide(forecasts_in(log, column))) for column in ("forecast", "shadow")
    )
    return saved_by_day(served.challenger, champion - challenger, decision_day(here))
