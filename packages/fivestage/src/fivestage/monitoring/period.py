"""Monitoring of one period of service, from the prediction log: performance, drift and their causes."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from evidently.core.report import Snapshot

from fivestage.artifact.artifact import Artifact
from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.common.settings import REPORTS
from fivestage.contract.contract import LEAST_REFERENCE, Contract, day_of, iso
from fivestage.contract.cost_model import cost_model_of
from fivestage.data.labels import labels_of
from fivestage.evaluation.daily import NAN, Floats
from fivestage.evaluation.evaluate import answers_by_forecast, artifact_forecast, decision_day, slices_of
from fivestage.evaluation.metrics import Estimate, Slice
from fivestage.monitoring.causes import DATA, Cause, effects_of, explained, failed_tests, furthest_findings
from fivestage.monitoring.daily_statistics import ROWS
from fivestage.monitoring.drift import Finding
from fivestage.monitoring.evidently_drift import LABEL_COLUMN
from fivestage.monitoring.performance import Performance, judge
from fivestage.monitoring.period_report import Checks, PeriodColumns, period_frame, run_checks, with_verdict
from fivestage.monitoring.retraining import SUMMARIES, PeriodSummary, ShadowScore, saved_by_day
from fivestage.monitoring.skew import differences, forecasts_in, skew
from fivestage.monitoring.workspace import add_run
from fivestage.serving.log import open_store, predictions
from fivestage.serving.store import ShadowRecord

ROWS_AT_ONCE = 20_000  # of the log; those of other periods are dropped before more are read
SHADOW = "challenger's forecast"  # a column of the log, with a name that no input can have
TEST_REQUESTS = 0.01  # share of requests that may be made up, as by people who try the service


@dataclass(frozen=True)
class MonitoredPeriod:
    """The results of monitoring a period, as of its end."""

    start: int
    end: int
    versions: tuple[str, ...]  # that served, the latest last
    performance: Performance
    log_offsets: tuple[int, int]  # up to which the log has been read, as in `Served`
    drift: tuple[Finding, ...] = ()  # the statistic of each column that moved furthest
    largest_difference: float = 0.0  # between online and offline forecasts
    causes: tuple[Cause, ...] = ()
    slices: tuple[Slice, ...] = ()
    shadow: ShadowScore | None = None
    labels_due: float = 0.0  # the share of labels that should have arrived by now
    matured: "tuple[MonitoredPeriod, ...]" = ()  # earlier periods that have had too few labels until now
    has_later: bool = False  # as in `Served`, as are `log_starts` and `log_ends`
    log_starts: tuple[int, int] = (0, 0)
    log_ends: tuple[int, int] = (0, 0)

    @property
    def days(self) -> str:
        """Its first day, and the day at whose start it ends, in words."""
        return f"{day_of(self.start)} to {day_of(self.end)}"

    @property
    def page(self) -> Path:
        """The path of Evidently's page."""
        return REPORTS / "drift" / f"{day_of(self.start)}.html"

    @property
    def drifted(self) -> tuple[str, ...]:
        """The columns whose inputs moved, broken ones included."""
        return tuple(one.column for one in self.drift if one.drifted)

    @property
    def broken(self) -> tuple[str, ...]:
        """The subjects of broken data, such as column names."""
        return tuple(cause.subject for cause in self.causes if cause.kind == "data broken")

    @property
    def causes_by_labels(self) -> tuple[Cause, ...]:
        """What is new once the labels have arrived: the first check has already found the other causes."""
        return tuple(cause for cause in self.causes if cause.kind not in DATA)

    @property
    def state(self) -> str:
        """The period in a word or two; broken data come first, because they block retraining."""
        if self.broken:
            return f"data broken ({', '.join(self.broken)})"
        if self.performance.bad:
            return "bad"
        return "good" if self.performance.conclusive else "not judged"

    @property
    def summary(self) -> PeriodSummary:
        """The summary of the period for the retraining policy."""
        return PeriodSummary(
            self.performance.label_share,
            self.performance.bad,
            self.broken,
            self.shadow,
            bool(self.drifted),
            self.start,
            self.end,
            self.log_starts,
            self.log_ends,
            version=self.versions[-1] if self.versions else "",
        )

    def history(self, past: Sequence[Any]) -> list[PeriodSummary]:
        """Return the summaries of past periods (or their JSON), with those judged now, and of this one."""
        judged = {one.start: one.summary for one in self.matured}
        return [*(judged.get(one.start, one) for one in SUMMARIES.validate_python(past)), self.summary]

    def save(self, snapshot: Snapshot, project: str) -> None:
        """Write Evidently's page of the period, and add its run to Evidently's workspace.

        Args:
            snapshot: The report's run.
            project: The name of the project in the workspace.
        """
        self.page.parent.mkdir(parents=True, exist_ok=True)
        snapshot.save_html(str(self.page))
        add_run(project, snapshot)


@dataclass(frozen=True)
class Served:
    """Logged predictions whose decisions fell into [start, end).

    The log's column `row` is the position of each one's row in the data; -1 if they lack it, as for made-up
    requests.
    """

    start: int
    end: int
    log: pd.DataFrame
    log_offsets: tuple[int, int]  # up to which predictions and challengers' predictions have been read
    challenger: str = ""  # the version whose forecasts are in the column `SHADOW`; empty if there are none
    has_later: bool = False  # whether the log has decisions after the period
    as_of: int = 0  # labels known by then count, epoch seconds; 0 is the period's end
    # After which numbers a period is read again, and up to which: the last ones of the period itself.
    log_starts: tuple[int, int] = (0, 0)
    log_ends: tuple[int, int] = (0, 0)

    def label_share(self, rows: pd.DataFrame) -> float:
        """Return the share of the requested rows whose labels were known at `as_of`, as `judge` counts it."""
        if self.log.empty:
            return 0.0
        known = rows["known_at"].iloc[self.log["row"][self.log["row"] >= 0]] < self.as_of
        return float(known.sum()) / len(self.log)


def read_served(
    database: str,
    rows: pd.DataFrame,
    contract: Contract,
    start: int,
    end: int,
    log_offsets: tuple[int, int] = (0, 0),
    log_ends: tuple[float, float] = (math.inf, math.inf),
) -> Served:
    """Read the predictions of [start, end) after these offsets from the log, with those of the challenger.

    Of several predictions per identity the last counts. A period that is read again is read only up to
    `log_ends`, because rows that were sent again later were not decided by these predictions.
    """
    inside, later, last = [], [], log_offsets[0]
    with closing(open_store(database)) as store:
        logged = predictions(store, contract, log_offsets[0])
        logged = takewhile(lambda one: one["number"] <= log_ends[0], logged)
        while some := list(islice(logged, ROWS_AT_ONCE)):
            frame, last = pd.DataFrame(some), some[-1]["number"]
            at = frame[contract.decision.time_column] - contract.decision.lead_seconds
            inside.append(frame[(at >= start) & (at < end)])
            later.append(frame.loc[at >= end, ["number", "request_id"]].drop_duplicates())
        if not inside:
            return Served(
                start, end, pd.DataFrame(), log_offsets, log_starts=log_offsets, log_ends=log_offsets
            )
        log = pd.concat(inside).drop_duplicates([*contract.identity], keep="last", ignore_index=True)
        ahead = pd.concat(later)
        asked, asked_ahead = set(log["request_id"]), set(ahead["request_id"])
        wanted = asked | asked_ahead
        logged_shadows = takewhile(lambda one: one[0] <= log_ends[1], store.shadows(log_offsets[1]))
        shadows = [one for one in logged_shadows if one[1].request_id in wanted]
    # Later periods read again what was logged for them before the last row of this one.
    before_next = [int(number) - 1 for number in ahead["number"].head(1)]
    shadow_before_next = [number - 1 for number, one in shadows if one.request_id in asked_ahead][:1]
    shadows = [one for one in shadows if one[1].request_id in asked]
    last_shadow = shadows[-1][0] if shadows else log_offsets[1]
    challenger = shadows[-1][1].model_version if shadows else ""
    log = log.assign(
        row=_places(rows, log, contract, start, end),
        **{SHADOW: _forecasts_of(challenger, (one for _, one in shadows), log)},
    )
    return Served(
        start,
        end,
        log,
        (min([last, *before_next]), min([last_shadow, *shadow_before_next])),
        challenger,
        has_later=not ahead.empty,
        log_starts=log_offsets,
        log_ends=(int(log["number"].max()) if len(log) else log_offsets[0], last_shadow),
    )


def _forecasts_of(challenger: str, shadows: Iterable[ShadowRecord], log: pd.DataFrame) -> pd.Series:
    """Return a challenger's forecast of each logged row; None for those that it has not predicted."""
    predicted = {
        one.request_id: [row if isinstance(row, list) else [row] for row in json.loads(one.probabilities)]
        for one in shadows
        if one.model_version == challenger
    }
    places = zip(log["request_id"], log["place"], strict=True)
    answers = [predicted[name][place] if name in predicted else None for name, place in places]
    return pd.Series(answers, index=log.index, dtype=object)


def periods_to_check(
    database: str,
    rows: pd.DataFrame,
    span: tuple[int, int],
    log_offsets: tuple[int, int],
    past: Sequence[Any],
    contract: Contract,
) -> Iterator[Served]:
    """Yield the past periods that had too few labels and have enough now, then the period of a span.

    A period is not judged by the labels that arrive first, because easy cases often end first. It is checked
    again while it is at most `reference_days` old, and then once more, so that missing labels are noticed.

    Args:
        database: The URL of the prediction log, as for `open_store`.
        rows: All decisions in the data, with the times when their labels became known.
        span: The start and the end of the period in epoch seconds.
        log_offsets: The numbers up to which predictions and challengers' predictions have been read.
        past: The summaries of all earlier periods, also as in JSON.
        contract: The problem's contract.

    Returns:
        The logged predictions of each period, the latest last.

    Raises:
        UserError: If the kind of the URL is unknown, or the database cannot be opened.
    """
    (start, end), rules = span, contract.monitoring
    for one in SUMMARIES.validate_python(past):
        if not one.is_due(end, rules):
            continue
        served = read_served(database, rows, contract, one.start, one.end, one.log_offsets, one.log_ends)
        served = replace(served, as_of=end)
        last_chance = len(served.log) and not one.is_due(end + rules.period_seconds, rules)
        if last_chance or served.label_share(rows) >= rules.min_label_share:
            yield served
    yield read_served(database, rows, contract, start, end, log_offsets)


def check_period(
    rows: pd.DataFrame,
    features: pd.DataFrame,
    served: Served,
    artifacts: dict[str, Artifact],
    contract: Contract,
    checks: Checks,
) -> tuple[MonitoredPeriod, Snapshot | None]:
    """Run the checks of a period, with the days before its start as reference.

    Args:
        rows: All decisions in the data, with their labels and the times when these became known.
        features: The features of the same rows.
        served: The period's predictions from the log.
        artifacts: The versions that served, by name. Predictions of others are not judged.
        contract: The problem's contract.
        checks: Builds the project's report for a period, see `PeriodColumns`.

    Returns:
        The monitored period, and the report's run, or None if there is nothing to check.

    Raises:
        UserError: If the log ends before the period starts, or the data hold too few days before it.
    """
    start, end, log = served.start, served.end, served.log
    as_of = served.as_of or end
    if log.empty and served.has_later:
        reason = "none was requested. Was the service down, or its client?"
        return _unjudged(served, "no prediction was requested", reason), None
    if log.empty:
        raise UserError(
            f"The prediction log has no decisions from {iso(start)} to {iso(end)}. Does the service get "
            "any requests?"
        )
    registered = log["model_version"].isin(artifacts)
    if not registered.any():
        reason = (
            f"the registry has no version {', '.join(log['model_version'].unique())}, which served: "
            "build images with the registry that monitoring reads (MLFLOW_TRACKING_URI)"
        )
        return _unjudged(served, "the version is unknown", reason), None
    log = log[registered]
    places = log["row"].to_numpy()
    if (places < 0).all():
        reason = (
            "the table has none of the requested rows: append those of the period, with their outcomes "
            "(POST /outcomes does not)"
        )
        return _unjudged(served, "no row is known", reason), None
    before = _inside(rows, start - contract.monitoring.reference_days * DAY, start)
    _require_reference(features, rows.iloc[before], start, end, contract)
    unknown_rows = _unknown_rows(log, places, rows.iloc[before], as_of, contract)
    asked, log, places = len(places), log[places >= 0], places[places >= 0]
    versions = tuple(log["model_version"].drop_duplicates(keep="last"))  # the last one serves now
    newest, forecast = artifacts[versions[-1]], forecasts_in(log)
    if gone := next((one for one in newest.features if one not in features), ""):
        reason = f"version {versions[-1]} needs this feature, which the project no longer has"
        return _unjudged(served, f"version {versions[-1]} cannot predict", reason, gone), None
    current, seen, usual = rows.iloc[places], features.iloc[places], features.iloc[before]
    known = (current["known_at"] < as_of).to_numpy()
    labelled = before[rows["known_at"].to_numpy()[before] < as_of]
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
    unseen = _unseen_forecast(usual, rows.iloc[before], newest)
    now = period_frame(seen, current, forecast, end, contract, as_of)
    then = period_frame(usual, rows.iloc[before], unseen, end, contract, as_of)
    columns = PeriodColumns.of(features, now, performance, contract)
    snapshot = run_checks(checks(columns), now, then, contract, end)
    failed = failed_tests(snapshot)
    moved = tuple(one for one in failed if one.kind != "performance")
    effects = effects_of([one.subject for one in moved], seen, usual, newest, contract)
    here = np.flatnonzero(known)
    monitored = MonitoredPeriod(
        start,
        end,
        versions,
        with_verdict(performance, failed),
        served.log_offsets,
        furthest_findings(snapshot),
        float(difference.max()),
        (
            *unknown_rows,
            *skew(log, current, difference, _columns_of(artifacts, contract)),
            *explained(moved, effects, contract),
        ),
        slices_of(current.iloc[here], forecast[here], newest.decide(forecast[here]), contract),
        _shadow(served.challenger, versions[-1], log.iloc[here], current.iloc[here], contract),
        _labels_due(then, contract),
        has_later=served.has_later,
        log_starts=served.log_starts,
        log_ends=served.log_ends,
    )
    return monitored, snapshot


def _labels_due(reference: pd.DataFrame, contract: Contract) -> float:
    """Return the share of labels that a period needs, or half of what its reference had if that is less."""
    usual, needed = float(reference[LABEL_COLUMN].notna().mean()), contract.monitoring.min_label_share
    return needed if usual >= needed else usual / 2


def _inside(rows: pd.DataFrame, start: int, end: int) -> np.ndarray:
    """Return the positions of the rows decided in [start, end)."""
    return np.flatnonzero((rows["decision_at"] >= start) & (rows["decision_at"] < end))


def _unseen_forecast(features: pd.DataFrame, rows: pd.DataFrame, model: Artifact) -> Floats:
    """Return the model's forecasts for the reference; NaN on the days that it was trained on."""
    later = decision_day(rows) * DAY >= model.trained_until
    predicted = artifact_forecast(model, features[later] if later.any() else features[:1])
    forecast: Floats = np.full((len(rows), *predicted.shape[1:]), NAN)
    if later.any():
        forecast[later] = predicted
    return forecast


def _columns_of(artifacts: Mapping[str, Artifact], contract: Contract) -> list[str]:
    """Return the contract's columns that all versions had."""
    return [
        name for name in contract.columns if all(name in one.contract.columns for one in artifacts.values())
    ]


def _unjudged(served: Served, summary: str, reason: str, subject: str = ROWS) -> MonitoredPeriod:
    """Return a period that cannot be judged, with the reason as its cause."""
    return MonitoredPeriod(
        served.start,
        served.end,
        (),
        Performance({"rows": Estimate(0), "cost_per_1000": Estimate(NAN)}, summary),
        served.log_offsets,
        causes=(Cause("data broken", subject, f"{subject}: {reason}"),),
        has_later=served.has_later,
        log_starts=served.log_starts,
        log_ends=served.log_ends,
    )


def _places(rows: pd.DataFrame, log: pd.DataFrame, contract: Contract, start: int, end: int) -> np.ndarray:
    """Return the position of each logged row in the data; -1 if they lack it, as for made-up requests."""
    identity, near = list(contract.identity), _inside(rows, start, end)
    known = rows.iloc[near][identity].assign(place=near)
    places = log[identity].merge(known, on=identity, how="left")["place"]
    return places.fillna(-1).to_numpy(dtype=np.int64)


def _unknown_rows(
    log: pd.DataFrame, places: np.ndarray, before: pd.DataFrame, end: int, contract: Contract
) -> tuple[Cause, ...]:
    """Return a cause if the data lack more requested rows than test requests and late outcomes explain.

    A table may lack a row until its outcome is known; the days before show how many outcomes are that late.
    """
    unknown, asked = int((places < 0).sum()), len(places)
    waited = np.sort((before["known_at"] - before["decision_at"]).to_numpy())
    left = end + contract.decision.lead_seconds - log[contract.decision.time_column].to_numpy()
    late = 1 - float(np.searchsorted(waited, left, side="right").mean()) / len(waited)
    if unknown <= asked * (TEST_REQUESTS + late) + 2 * math.sqrt(asked * late * (1 - late)):
        return ()
    sentence = (
        f"{ROWS}: {unknown:,} of {asked:,} requested rows are not in the data. "
        "Is their table complete, and do clients identify rows as it does?"
    )
    return (Cause("data broken", ROWS, sentence),)


def _require_reference(
    features: pd.DataFrame, before: pd.DataFrame, start: int, end: int, contract: Contract
) -> None:
    """Raise if too few days lie before a period, or `monitoring.unwatched` names an unknown feature."""
    contract.require_features(features.columns)
    needed = LEAST_REFERENCE * (end - start) // DAY
    available = start // DAY - int(decision_day(before).min()) if len(before) else 0
    if available < needed:
        raise UserError(
            f"The data have {available} days before {day_of(start)}, and {needed} are needed as a reference "
            "for a period: train as of a later day, or lower monitoring.period_days in problem/problem.yaml."
        )


def _shadow(
    challenger: str, champion: str, log: pd.DataFrame, rows: pd.DataFrame, contract: Contract
) -> ShadowScore | None:
    """Score the challenger on the labelled rows that it and the champion predicted; None without one."""
    if not challenger:
        return None
    both = (log[SHADOW].notna() & (log["model_version"] == champion)).to_numpy()
    log, rows = log[both], rows[both]
    if log.empty:
        return ShadowScore(challenger, (), ())
    cost_model, label = cost_model_of(contract.costs), labels_of(rows, contract)
    cost, other = (
        cost_model.price(label, cost_model.decide(forecasts_in(log, column)))
        for column in ("forecast", SHADOW)
    )
    return saved_by_day(challenger, cost - other, decision_day(rows))
