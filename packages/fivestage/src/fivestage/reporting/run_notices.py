"""Notices about monitored periods and about champion/challenger evaluations."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fivestage.contract.contract import Contract, day_of
from fivestage.monitoring.retraining import RetrainingDecision
from fivestage.monitoring.retraining_loop import TrainingResult
from fivestage.reporting.notices import Notice
from fivestage.reporting.render import render
from fivestage.reporting.results import Results, estimates

if TYPE_CHECKING:  # Evidently takes seconds to import
    from fivestage.monitoring.period import MonitoredPeriod


def period_notice(
    contract: Contract, monitored: "Sequence[tuple[MonitoredPeriod, RetrainingDecision]]"
) -> Notice:
    """Create a notice about monitored periods; the latest decides whether it needs attention."""
    (latest, verdict), *_ = newest = list(reversed(monitored))
    acts = verdict.retrain or bool(verdict.promote)
    serious = any(cause.kind != "input shift" for cause in latest.causes)  # seasonal input drift is normal
    body = render("period_notice.md.j2", contract, Results(), periods=newest, estimates=estimates)
    return Notice(
        "monitoring",
        f"{contract.title} Monitoring",
        serious or latest.performance.bad or acts,
        body,
        {"act": str(acts).lower(), "as_of": str(day_of(latest.end))},
    )


def evaluation_notice(contract: Contract, result: TrainingResult) -> Notice:
    """Create a notice about a champion/challenger evaluation; it needs attention if a gate failed."""
    flags = {
        "passed": result.passed,
        "promoted": result.promoted,
        "waits": result.passed and not result.promoted,
    }
    return Notice(
        "retraining",
        f"{contract.title} Version {result.version.version}",
        not result.passed,
        render("evaluation_notice.md.j2", contract, Results(), result=result, gates=result.gates),
        {"version": result.version.version} | {name: str(flag).lower() for name, flag in flags.items()},
    )


def period_lines(monitored: "MonitoredPeriod", verdict: RetrainingDecision, page: Path) -> Iterator[str]:
    """Describe a period for the terminal: performance, findings and advice."""
    performance = monitored.performance
    yield f"From {day_of(monitored.start)} to {day_of(monitored.end)}: {performance.sentence}."
    yield from (f"  {cause.kind}: {cause.sentence}" for cause in monitored.causes)
    advice = 'make retrain ARGS="--if-asked"' if verdict.retrain or verdict.promote else "keep the model"
    yield f"{advice}: {verdict.reason}.{f' The drift report is {page}.' if performance.rows else ''}"
