"""What people are told of a period watched, and of a contest: for an issue or a pull request."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from fivestage.contract.contract import Contract, day_of
from fivestage.evaluation.gates import Gate
from fivestage.evaluation.metrics import Scored
from fivestage.monitoring.period_watch import Watched
from fivestage.monitoring.policy import RetrainingDecision
from fivestage.reporting import format as say
from fivestage.reporting import words
from fivestage.reporting.notice import Notice
from fivestage.reporting.results import Estimate

MONITORING, RETRAINING = "monitoring", "retraining"


def period_notice(contract: Contract, watched: Sequence[tuple[Watched, RetrainingDecision]]) -> Notice:
    """The periods of one run, the latest first; it decides whether somebody is to look."""
    (latest, verdict), *_ = newest = list(reversed(watched))
    return Notice(
        MONITORING,
        f"{contract.title} Monitoring",
        _attention(latest, verdict),
        "\n\n".join("\n".join(_period(*one)) for one in newest),
        {"act": _yes(bool(verdict.retrain or verdict.promote)), "as_of": str(day_of(latest.end))},
    )


def _verdict(gate: Gate) -> str:
    if not gate.applicable:
        return "not applicable"
    return "yes" if gate.passed else "**no**"


def period_lines(watched: Watched, verdict: RetrainingDecision, page: Path) -> Iterator[str]:
    """How a period went and what to do, for the terminal; `page` is its drift report."""
    performance = watched.performance
    yield f"From {day_of(watched.start)} to {day_of(watched.end)}: {performance.sentence}."
    yield from (f"  {cause.kind}: {cause.sentence}" for cause in watched.causes)
    advice = 'make retrain ARGS="--if-asked"' if verdict.retrain or verdict.promote else "keep the model"
    yield f"{advice}: {verdict.reason}.{f' The drift report is {page}.' if performance.rows else ''}"


def contest_notice(
    contract: Contract, version: str, gates: Sequence[Gate], as_of: str, *, promoted: bool
) -> Notice:
    """A challenger, the day it was trained as of, and its gates; somebody is to look if one did not pass."""
    passed = all(gate.passed for gate in gates)
    waits = passed and not promoted
    outcome = "is the champion" if promoted else "waits for approval" if waits else "stays challenger"
    table = [
        "| gate | passed | value | limit | what it says |",
        "|---|---|---:|---:|---|",
        *(
            f"| {say.spaced(gate.name)} | {_verdict(gate)} | {say.compact(gate.value)} "
            f"| {say.compact(gate.limit)} | {gate.sentence} |"
            for gate in gates
        ),
    ]
    told = f"Version {version}, trained as of {as_of}, {outcome}: {words.gates(tuple(gates))}."
    return Notice(
        RETRAINING,
        f"{contract.title} Version {version}",
        not passed,
        "\n".join([told, "", *table]),
        {"version": version, "passed": _yes(passed), "promoted": _yes(promoted), "waits": _yes(waits)},
    )


def _period(watched: Watched, verdict: RetrainingDecision) -> Iterator[str]:
    performance = watched.performance
    yield f"## From {day_of(watched.start)} to {day_of(watched.end)}"
    yield ""
    yield (
        f"{say.capital(performance.sentence)}. {say.plural(performance.rows, 'row')}, of which "
        f"{say.percent(performance.label_share)} have their label."
    )
    yield ""
    yield f"**{_action(verdict)}**: {verdict.reason}."
    yield ""
    if watched.causes:
        yield from (f"- **{cause.kind}**: {cause.sentence}" for cause in watched.causes)
    else:
        yield "Nothing moved by more than chance."
    yield ""
    yield "| metric | value | before the labels were there |"
    yield "|---|---:|---:|"
    for name in say.in_order(performance.expected.scores):
        estimated = _estimate(performance.expected, name)
        found = _estimate(performance.scored, name) if performance.scored else say.NONE
        yield f"| {say.metric_title(name)} | {found} | {estimated} |"


def _action(verdict: RetrainingDecision) -> str:
    if verdict.promote:
        return f"Let version {verdict.promote} take over"
    return "Train again" if verdict.retrain else "Keep the model"


def _estimate(scored: Scored, name: str) -> str:
    if name not in scored.scores:
        return say.NONE
    return say.estimate(name, Estimate(scored.scores[name], *scored.intervals.get(name, ())))


def _attention(watched: Watched, verdict: RetrainingDecision) -> bool:
    """Inputs that moved are told of, but they move with every season: nobody is called for them alone."""
    serious = any(cause.kind != "input shift" for cause in watched.causes)
    return serious or watched.performance.bad or verdict.retrain or bool(verdict.promote)


def _yes(value: bool) -> str:  # noqa: FBT001 (a word for it)
    return "true" if value else "false"
