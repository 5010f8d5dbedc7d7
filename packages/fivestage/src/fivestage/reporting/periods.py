"""Reports of monitored periods: a row of the page, a notice, and lines for the terminal."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fivestage.common.clock import DAY
from fivestage.common.settings import REPORTS
from fivestage.contract.contract import Contract, day_of
from fivestage.monitoring.retraining import RetrainingDecision
from fivestage.reporting.documents import render
from fivestage.reporting.notices import Notice
from fivestage.reporting.results import CauseRow, ColumnDriftRow, PeriodRow, Results
from fivestage.reporting.sentences import advice, by_late_labels

if TYPE_CHECKING:  # Evidently takes seconds to import
    from fivestage.monitoring.causes import Cause
    from fivestage.monitoring.period import MonitoredPeriod


def period_row(monitored: "MonitoredPeriod", verdict: RetrainingDecision) -> PeriodRow:
    """Return a monitored period's results for the page, which links its drift report by a relative path."""
    performance = monitored.performance
    return PeriodRow(
        start=day_of(monitored.span.start),
        end=day_of(monitored.span.end),
        version=", ".join(monitored.versions),
        rows=performance.rows,
        label_share=performance.label_share,
        metrics=performance.scored or {},
        drift=tuple(
            ColumnDriftRow(
                one.column,
                one.exceedance,
                1.0,
                f"{one.column}: {one.sentence if one.drifted else 'as in the reference'}",
            )
            for one in monitored.drift
        ),
        bad=performance.bad,
        judged=performance.conclusive,
        verdict=f"{performance.sentence}. {advice(verdict)}: {verdict.reason}",
        estimated_cost=performance.expected["cost_per_1000"].value,
        drift_report=str(monitored.page.relative_to(REPORTS)),
        causes=tuple(_cause_row(cause) for cause in monitored.causes),
        estimated=performance.expected,
        slices=monitored.slices,
    )


def _cause_row(cause: "Cause") -> CauseRow:
    series = cause.series
    if series is None:
        return CauseRow(cause.kind, cause.subject, cause.sentence)
    days = {name: getattr(series, name) for name in ("usual", "now", "low", "high")}
    first = day_of(series.first * DAY)
    return CauseRow(cause.kind, cause.subject, cause.sentence, series.what, first, **days)


def period_notice(
    contract: Contract, monitored: "Sequence[tuple[MonitoredPeriod, RetrainingDecision]]"
) -> Notice:
    """Create a notice about monitored periods; the latest decides whether it needs attention."""
    (latest, verdict), *_ = newest = list(reversed(monitored))
    causes = (*latest.causes, *(cause for one in latest.matured for cause in one.causes_by_labels))
    serious = any(cause.kind != "input shift" for cause in causes)  # seasonal input drift is normal
    bad = any(one.performance.bad for one in (latest, *latest.matured))
    return Notice(
        "monitoring",
        f"{contract.title} Monitoring",
        serious or bad or verdict.acts,
        render("period_notice.md.j2", contract, Results(), periods=newest),
        {"act": str(verdict.acts).lower(), "as_of": str(day_of(latest.span.end))},
    )


def period_lines(monitored: "MonitoredPeriod", verdict: RetrainingDecision) -> Iterator[str]:
    """Describe a period for the terminal: performance, findings and advice."""
    performance = monitored.performance
    for one in monitored.matured:
        yield by_late_labels(one)
        yield from (f"  {cause.kind}: {cause.sentence}" for cause in one.causes_by_labels)
    yield f"From {monitored.days}: {performance.sentence}."
    yield from (f"  {cause.kind}: {cause.sentence}" for cause in monitored.causes)
    action = 'make retrain ARGS="--if-asked"' if verdict.acts else "keep the model"
    report = f" The drift report is {monitored.page}." if performance.rows else ""
    yield f"{action}: {verdict.reason}.{report}"
