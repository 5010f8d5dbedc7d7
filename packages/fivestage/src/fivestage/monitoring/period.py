"""One period of service, from the prediction log: what came in, how it went, and whether it moved."""

import json
import math
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from evidently.core.report import Snapshot

from fivestage.artifact.artifact import Artifact
from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.contract.contract import LEAST_REFERENCE, Contract, day_of, iso
from fivestage.contract.cost_model import cost_model_of
from fivestage.data.labels import labels_of
from fivestage.evaluation.daily import NAN, Floats
from fivestage.evaluation.evaluate import answers_by_forecast, artifact_forecast, decision_day, slices_of
from fivestage.evaluation.metrics import Scored
from fivestage.monitoring.causes import (
    Cause,
    effects_of,
    failed_tests,
    furthest_findings,
    with_class_names,
    with_effects,
)
from fivestage.monitoring.daily_statistics import ROWS
from fivestage.monitoring.drift import Finding
from fivestage.monitoring.performance import Performance, judge
from fivestage.monitoring.period_report import Checks, PeriodColumns, period_frame, run_checks, with_verdict
from fivestage.monitoring.retraining import PeriodSummary, ShadowScore, saved_by_day
from fivestage.monitoring.skew import differences, forecasts_in, skew
from fivestage.serving.log import open_store, predictions

TRIALS = 0.01  # of requests may be made up, as people do who try a service


@dataclass(frozen=True)
class MonitoredPeriod:
    """What is known of a period at its end."""

    start: int
    end: int
    versions: tuple[str, ...]
    performance: Performance
    last_number: int  # of the prediction log
    drift: tuple[Finding, ...] = ()  # the furthest of each column
    largest_difference: float = 0.0  # between what was served and what the artifact answers offline
    causes: tuple[Cause, ...] = ()
    slices: dict[str, dict[str, Scored]] = field(default_factory=dict)  # by column and level
    shadow: ShadowScore | None = None
    last_shadow: int = 0  # of the challengers' answers

    @property
    def drifted(self) -> tuple[str, ...]:
        """The columns whose inputs moved, broken ones included."""
        return tuple(one.column for one in self.drift if one.drifted)

    @property
    def broken(self) -> tuple[str, ...]:
        """What in the data is broken."""
        return tuple(cause.subject for cause in self.causes if cause.kind == "data broken")

    @property
    def state(self) -> str:
        """The period in a word or two; broken data come first, as they block a training."""
        if self.broken:
            return f"data broken ({', '.join(self.broken)})"
        if self.performance.bad:
            return "bad"
        return "good" if self.performance.conclusive else "not judged"

    @property
    def summary(self) -> PeriodSummary:
        """What the policy remembers of it."""
        share, bad = self.performance.label_share, self.performance.bad
        return PeriodSummary(share, bad, self.broken, self.shadow, bool(self.drifted))


@dataclass(frozen=True)
class Served:
    """Logged predictions whose decisions fell into [start, end)."""

    start: int
    end: int
    log: pd.DataFrame
    last_number: int
    challenger: str = ""  # whose forecast the log has as `shadow`; empty: none has answered
    last_shadow: int = 0
    goes_on: bool = False  # the log, past the end


def read_served(
    database: str, contract: Contract, start: int, end: int, log_offset: int, shadow_offset: int = 0
) -> Served:
    """What the log tells of a period, from after number `log_offset` on, with the challenger's answers.

    Args:
        database: the URL of the prediction log, as `open_store` takes it.
        contract: whose columns the logged rows have.
        start: the first moment of decisions in the period, epoch seconds.
        end: the first moment after the period, epoch seconds.
        log_offset: the number in the log up to which answers have been read; 0 for none.
        shadow_offset: the same of the challenger's answers.

    Returns:
        The log as rows x (inputs, forecast, decision, ...), of each identity the last answer, timestamps in
        epoch seconds, and the numbers up to which it has been read.

    Raises:
        UserError: for a URL of no known kind, or a database that cannot be opened.
        ValueError: for a logged timestamp that is out of the contract's range.
    """
    with closing(open_store(database)) as store:
        log = pd.DataFrame(predictions(store, contract, log_offset))
        if log.empty:
            return Served(start, end, log, log_offset, last_shadow=shadow_offset)
        at = log[contract.decision.time_column] - contract.decision.lead_seconds
        inside = log[(at >= start) & (at < end)].drop_duplicates(list(contract.identity), keep="last")
        later = log["number"][at >= end]  # for the next period to read, which may be over as well
        last = int(later.min() - 1 if len(later) else log["number"].max())
        asked = set(inside["request_id"])
        shadows = [(number, one) for number, one in store.shadows(shadow_offset) if one.request_id in asked]
    if not shadows:
        return Served(start, end, inside, last, last_shadow=shadow_offset, goes_on=bool(len(later)))
    last_shadow, newest = shadows[-1]
    predicted = {
        one.request_id: [row if isinstance(row, list) else [row] for row in json.loads(one.probabilities)]
        for _, one in shadows
        if one.model_version == newest.model_version
    }
    places = zip(inside["request_id"], inside["place"], strict=True)
    answers = [predicted[name][place] if name in predicted else None for name, place in places]
    log = inside.assign(shadow=pd.Series(answers, index=inside.index, dtype=object))
    return Served(start, end, log, last, newest.model_version, last_shadow, bool(len(later)))


def check_period(
    rows: pd.DataFrame,
    features: pd.DataFrame,
    served: Served,
    artifacts: dict[str, Artifact],
    contract: Contract,
    checks: Checks,
) -> tuple[MonitoredPeriod, Snapshot | None]:
    """Run the checks of a period on what was known at its end, against the days before its start.

    Args:
        rows: the warehouse's decisions, with their labels and when these became known.
        features: of the same rows.
        served: what the prediction log holds of the period.
        artifacts: the versions that served, by name.
        contract: of the problem.
        checks: builds the project's report for a period, see `PeriodColumns`.

    Returns:
        What is known of the period, and the run of the report that says so (None where nothing was asked).

    Raises:
        UserError: when the log ends before the period begins.
    """
    start, end, log = served.start, served.end, served.log
    if log.empty and served.goes_on:
        why = "none was asked for. Was the service down, or what asks it?"
        return _blind(served, "nothing was asked", why), None
    if log.empty:
        raise UserError(
            f"The prediction log holds nothing decided from {iso(start)} to {iso(end)}. Is the service asked?"
        )
    places = _places(rows, log, contract, start, end)
    if (places < 0).all():
        why = (
            "the table has none of the requested rows: append those of the period, with their outcomes "
            "(POST /outcomes does not)"
        )
        return _blind(served, "no row is known", why), None
    before = _inside(rows, start - contract.monitoring.reference_days * DAY, start)
    _require_reference(features, rows.iloc[before], start, end, contract)
    unknown_rows = _unknown_rows(log, places, rows.iloc[before], end, contract)
    asked, log, places = len(places), log[places >= 0], places[places >= 0]
    newest, forecast = artifacts[log["model_version"].iloc[-1]], forecasts_in(log)
    current, seen, usual = rows.iloc[places], features.iloc[places], features.iloc[before]
    known = (current["known_at"] < end).to_numpy()
    labelled = before[rows["known_at"].to_numpy()[before] < end]
    performance = judge(
        labels_of(current, contract),
        known,
        answers_by_forecast(newest, forecast),
        decision_day(current),
        labels_of(rows.iloc[labelled], contract),
        contract,
        asked,
    )
    difference = differences(log, seen, artifacts)
    unlearnt = _unlearnt_forecast(usual, rows.iloc[before], newest)
    now = period_frame(seen, current, forecast, end, contract)
    then = period_frame(usual, rows.iloc[before], unlearnt, end, contract)
    columns = PeriodColumns.of(features, now, newest.trained_until, performance, contract)
    snapshot = run_checks(checks(columns), now, then, contract, end)
    failed = failed_tests(snapshot)
    moved = tuple(one for one in failed if one.kind != "performance")
    effects = effects_of([one.subject for one in moved], seen, usual, newest, contract)
    here = np.flatnonzero(known)
    found = MonitoredPeriod(
        start,
        end,
        tuple(dict.fromkeys(log["model_version"])),
        with_verdict(performance, failed),
        served.last_number,
        furthest_findings(snapshot),
        float(difference.max()),
        (
            *unknown_rows,
            *skew(log, current, difference, contract),
            *with_class_names(with_effects(moved, effects, contract.costs.currency), contract),
        ),
        slices_of(current.iloc[here], forecast[here], newest.decide(forecast[here]), contract),
        _shadow(served.challenger, log.iloc[here], current.iloc[here], contract),
        served.last_shadow,
    )
    return found, snapshot


def _inside(rows: pd.DataFrame, start: int, end: int) -> np.ndarray:
    """Where the rows decided in [start, end) are."""
    return np.flatnonzero((rows["decision_at"] >= start) & (rows["decision_at"] < end))


def _unlearnt_forecast(features: pd.DataFrame, rows: pd.DataFrame, model: Artifact) -> Floats:
    """What the model says of the days before; NaN of those that it has learnt from."""
    later = (rows["decision_at"] >= model.trained_until).to_numpy()
    predicted = artifact_forecast(model, features[later] if later.any() else features[:1])
    found: Floats = np.full((len(rows), *predicted.shape[1:]), NAN)
    if later.any():
        found[later] = predicted
    return found


def _blind(served: Served, seen: str, why: str) -> MonitoredPeriod:
    """A period in which nothing can be judged, and the sentence that says so."""
    return MonitoredPeriod(
        served.start,
        served.end,
        (),
        Performance(Scored({"rows": 0.0, "cost_per_1000": NAN}, {}), seen),
        served.last_number,
        causes=(Cause("data broken", ROWS, f"{ROWS}: {why}"),),
        last_shadow=served.last_shadow,
    )


def _places(rows: pd.DataFrame, log: pd.DataFrame, contract: Contract, start: int, end: int) -> np.ndarray:
    """Where in the warehouse each logged row is; -1 where it has none, as of a request that was made up."""
    identity, near = list(contract.identity), _inside(rows, start, end)
    known = rows.iloc[near][identity].assign(place=near)
    found = log[identity].merge(known, on=identity, how="left")["place"]
    return found.fillna(-1).to_numpy(dtype=np.int64)


def _unknown_rows(
    log: pd.DataFrame, places: np.ndarray, before: pd.DataFrame, end: int, contract: Contract
) -> tuple[Cause, ...]:
    """A cause when more rows are not in the data than trials explain, and outcomes that are still to come.

    A table may lack a row until its outcome is known: as many as waited longer in the days before.
    """
    unknown, asked = int((places < 0).sum()), len(places)
    waited = np.sort((before["known_at"] - before["decision_at"]).to_numpy())
    left = end + contract.decision.lead_seconds - log[contract.decision.time_column].to_numpy()
    late = 1 - float(np.searchsorted(waited, left, side="right").mean()) / len(waited)
    if unknown <= asked * (TRIALS + late) + 2 * math.sqrt(asked * late * (1 - late)):
        return ()
    sentence = (
        f"{ROWS}: {unknown:,} of {asked:,} rows asked for are not in the data. "
        "Is their table whole, and does who asks name them as it does?"
    )
    return (Cause("data broken", ROWS, sentence),)


def _require_reference(
    features: pd.DataFrame, before: pd.DataFrame, start: int, end: int, contract: Contract
) -> None:
    """Raise where too few days lie before a period to compare it with, or an unwatched feature is none."""
    contract.require_unwatched(features.columns)
    needed = LEAST_REFERENCE * (end - start) // DAY
    found = start // DAY - int(decision_day(before).min()) if len(before) else 0
    if found < needed:
        raise UserError(
            f"The data have {found} days before {day_of(start)}, and {needed} are needed to compare a period "
            "with: train as of a later day, or lower monitoring.period_days in problem/problem.yaml."
        )


def _shadow(challenger: str, log: pd.DataFrame, rows: pd.DataFrame, contract: Contract) -> ShadowScore | None:
    """What the challenger would have saved on labelled rows, as far as it has answered them."""
    both = log["shadow"].notna().to_numpy() if challenger else np.zeros(len(log), dtype=bool)
    log, rows = log[both], rows[both]
    if log.empty:
        return None
    money, label = cost_model_of(contract.costs), labels_of(rows, contract)
    cost, other = (
        money.price(label, money.decide(forecasts_in(log, column))) for column in ("forecast", "shadow")
    )
    return saved_by_day(challenger, cost - other, decision_day(rows))
