"""Monitoring of one period of service, from the prediction log: performance, drift and their causes."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from evidently.core.report import Snapshot

from fivestage.artifact.artifact import Artifact
from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.common.settings import REPORTS
from fivestage.contract.contract import LEAST_REFERENCE, Column, Contract, day_of, iso
from fivestage.contract.cost_model import cost_model_of
from fivestage.data.labels import labels_of
from fivestage.evaluation.daily import NAN, Floats
from fivestage.evaluation.evaluate import answers_by_forecast, artifact_forecast, decision_day, slices_of
from fivestage.evaluation.metrics import Estimate, Slice
from fivestage.monitoring.causes import DATA, Cause, explained, failed_tests, furthest_findings
from fivestage.monitoring.daily_statistics import ROWS
from fivestage.monitoring.drift import Finding
from fivestage.monitoring.evidently_drift import LABEL_COLUMN
from fivestage.monitoring.performance import Performance, judge
from fivestage.monitoring.period_report import Checks, PeriodColumns, period_frame, run_checks
from fivestage.monitoring.retraining import SUMMARIES, PeriodSummary, ShadowScore, Span, saved_by_day
from fivestage.monitoring.served import SHADOW, Served, rows_in
from fivestage.monitoring.skew import differences, forecasts_in, skew
from fivestage.monitoring.workspace import add_run

logger = logging.getLogger(__name__)
TEST_REQUESTS = 0.01  # share of requests that may be made up, as by people who try the service


@dataclass(frozen=True)
class MonitoredPeriod:
    """The results of monitoring a period, as of its end."""

    span: Span
    versions: tuple[str, ...]  # that served, the latest last
    performance: Performance
    drift: tuple[Finding, ...] = ()  # the statistic of each column that moved furthest
    largest_difference: float = 0.0  # between online and offline forecasts
    causes: tuple[Cause, ...] = ()
    slices: tuple[Slice, ...] = ()
    shadow: ShadowScore | None = None
    labels_due: float = 0.0  # the share of labels that should have arrived by now
    matured: "tuple[MonitoredPeriod, ...]" = ()  # earlier periods that have had too few labels until now

    @property
    def days(self) -> str:
        """Its first day, and the day at whose start it ends, in words."""
        return f"{day_of(self.span.start)} to {day_of(self.span.end)}"

    @property
    def page(self) -> Path:
        """The path of Evidently's page."""
        return REPORTS / "drift" / f"{day_of(self.span.start)}.html"

    @property
    def drifted(self) -> tuple[str, ...]:
        """The columns that moved, broken ones included, and the subjects of a project's own warnings."""
        warned = (cause.subject for cause in self.causes if cause.kind == "input shift")
        return tuple(dict.fromkeys([*(one.column for one in self.drift if one.drifted), *warned]))

    @property
    def broken(self) -> tuple[str, ...]:
        """The subjects of broken data, such as column names."""
        return tuple(cause.subject for cause in self.causes if cause.kind == "data broken")

    @property
    def causes_by_labels(self) -> tuple[Cause, ...]:
        """What is new once the labels have arrived: the first check has already found the other causes."""
        return tuple(cause for cause in self.causes if cause.kind not in DATA)

    @property
    def labels_late(self) -> bool:
        """Whether fewer labels have arrived than should have by now."""
        return self.performance.rows > 0 and self.performance.label_share < self.labels_due

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
            self.span,
            self.versions[-1] if self.versions else "",
        )

    def history(self, past: Sequence[Any]) -> list[PeriodSummary]:
        """Return the summaries of past periods (or their JSON), with those judged now, and of this one."""
        judged = {one.span.start: one.summary for one in self.matured}
        return [*(judged.get(one.span.start, one) for one in SUMMARIES.validate_python(past)), self.summary]

    def save(self, snapshot: Snapshot, project: str) -> None:
        """Write Evidently's page of the period, and add its run to Evidently's workspace.

        Args:
            snapshot: The report's run.
            project: The name of the project in the workspace.
        """
        self.page.parent.mkdir(parents=True, exist_ok=True)
        snapshot.save_html(str(self.page))
        add_run(project, snapshot)


def check_period(
    rows: pd.DataFrame,
    features: pd.DataFrame,
    served: Served,
    versions: Mapping[str, Artifact | str],
    contract: Contract,
    checks: Checks,
) -> tuple[MonitoredPeriod, Snapshot | None]:
    """Run the checks of a period, with the days before its start as reference.

    Args:
        rows: All decisions in the data, with their labels and the times when these became known.
        features: The features of the same rows.
        served: The period's predictions from the log.
        versions: The artifact of each version of `served`, or why nobody can predict with it any more.
            Predictions of these are not judged, nor those of other classes or actions than the contract's.
        contract: The problem's contract.
        checks: Builds the project's report for a period, see `PeriodColumns`.

    Returns:
        The monitored period, and the report's run, or None if there is nothing to check.

    Raises:
        UserError: If the log ends before the period starts, or the data hold too few days before it.
    """
    start, end, log = served.span.start, served.span.end, served.log
    as_of = served.as_of or end
    if log.empty and served.span.has_later:
        reason = "none was requested. Was the service down, or its client?"
        return _unjudged(served, "no prediction was requested", reason), None
    if log.empty:
        raise UserError(
            f"The prediction log has no decisions from {iso(start)} to {iso(end)}. Does the service get "
            "any requests?"
        )
    artifacts, reasons = _usable(versions, contract)
    left_out = log["model_version"].isin(reasons)
    if left_out.all():
        return _unjudged(served, "no version can be judged", "; ".join(reasons.values())), None
    if left_out.any():
        counted = f"{left_out.sum():,} of {len(log):,} predictions from {day_of(start)} are not judged"
        logger.warning("%s: %s.", counted, "; ".join(reasons.values()))
    log = log[~left_out]
    places = log["row"].to_numpy()
    if (places < 0).all():
        reason = (
            "the table has none of the requested rows: append those of the period, with their outcomes "
            "(POST /outcomes does not)"
        )
        return _unjudged(served, "no row is known", reason), None
    before = rows_in(rows, start - contract.monitoring.reference_days * DAY, start)
    _require_reference(features, rows.iloc[before], start, end, contract)
    unknown_rows = _unknown_rows(log, places, rows.iloc[before], as_of, contract)
    asked, log, places = len(places), log[places >= 0], places[places >= 0]
    served_by = tuple(log["model_version"].drop_duplicates(keep="last"))  # the last one serves now
    last, forecast = served_by[-1], forecasts_in(log)
    newest = artifacts[last]
    if gone := next((one for one in newest.features if one not in features), ""):
        reason = f"version {last} needs this feature, which the project no longer has"
        return _unjudged(served, f"version {last} cannot predict", reason, gone), None
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
    report = checks(replace(columns, days=_days_of(served, current, contract)))
    snapshot = run_checks(report, now, then, contract, end)
    failed = failed_tests(snapshot)
    faults = tuple(one.sentence for one in failed if one.kind == "performance")
    moved = tuple(one for one in failed if one.kind != "performance")
    here, challenger = np.flatnonzero(known), served.challenger if served.challenger in artifacts else ""
    monitored = MonitoredPeriod(
        served.span,
        served_by,
        replace(performance, faults=faults),
        furthest_findings(snapshot),
        float(difference.max()),
        (
            *unknown_rows,
            *skew(log, current, difference, _columns_of(artifacts, contract)),
            *explained(moved, seen, usual, newest, contract),
        ),
        slices_of(current.iloc[here], forecast[here], newest.decide(forecast[here]), contract),
        _shadow(challenger, last, log.iloc[here], current.iloc[here], contract),
        _labels_due(then, contract),
    )
    return monitored, snapshot


def _usable(
    artifacts: Mapping[str, Artifact | str], contract: Contract
) -> tuple[dict[str, Artifact], dict[str, str]]:
    """Return the artifacts whose predictions can be judged, and why those of the other versions cannot."""
    usable, reasons = {}, {}
    for version, one in artifacts.items():
        if isinstance(one, str):
            reasons[version] = one
        elif one.contract.outputs != contract.outputs:
            reasons[version] = (
                f"version {version} predicts other classes or decides on other actions than the contract "
                "has now: train and deploy one that follows it"
            )
        else:
            usable[version] = one
    return usable, reasons


def _days_of(served: Served, current: pd.DataFrame, contract: Contract) -> tuple[int, int]:
    """Return the period's first day and the day after its last, without days at its ends that tell nothing.

    These are days before a service started, and days whose requests cannot be judged, for example because
    the data lack their rows until the outcomes are known.
    """
    asked = (served.log[contract.decision.time_column] - contract.decision.lead_seconds) // DAY
    first, last = int(decision_day(current).min()), int(decision_day(current).max())
    is_whole = served.span.after[0] > 0 and asked.min() >= first
    return (
        served.span.start // DAY if is_whole else first,
        last + 1 if asked.max() > last else served.span.end // DAY,
    )


def _labels_due(reference: pd.DataFrame, contract: Contract) -> float:
    """Return the share of labels that a period needs, or half of what its reference had if that is less."""
    usual, needed = float(reference[LABEL_COLUMN].notna().mean()), contract.monitoring.min_label_share
    return needed if usual >= needed else usual / 2


def _unseen_forecast(features: pd.DataFrame, rows: pd.DataFrame, model: Artifact) -> Floats:
    """Return the model's forecasts for the reference; NaN on the days that it was trained on."""
    later = decision_day(rows) * DAY >= model.trained_until
    predicted = artifact_forecast(model, features[later] if later.any() else features[:1])
    forecast: Floats = np.full((len(rows), *predicted.shape[1:]), NAN)
    if later.any():
        forecast[later] = predicted
    return forecast


def _columns_of(artifacts: Mapping[str, Artifact], contract: Contract) -> dict[str, Column]:
    """Return the contract's columns that all versions had."""
    return {
        name: column
        for name, column in contract.columns.items()
        if all(name in one.contract.columns for one in artifacts.values())
    }


def _unjudged(served: Served, summary: str, reason: str, subject: str = ROWS) -> MonitoredPeriod:
    """Return a period that cannot be judged, with the reason as its cause."""
    return MonitoredPeriod(
        served.span,
        (),
        Performance({"rows": Estimate(0), "cost_per_1000": Estimate(NAN)}, summary),
        causes=(Cause("data broken", subject, f"{subject}: {reason}"),),
    )


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
