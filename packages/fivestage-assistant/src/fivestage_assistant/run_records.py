"""What a run has found, as pages of plain sentences: the part of the corpus that no person has written."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

from fivestage.contract.contract import Contract
from fivestage.deployment.releases import Release
from fivestage.evaluation.gates import Gate
from fivestage.reporting import number_format as fmt
from fivestage.reporting import sentences, task_display
from fivestage.reporting.decisions import decisions_text
from fivestage.reporting.model_card import card_text
from fivestage.reporting.results import (
    DataSection,
    MonitoringSection,
    PeriodRow,
    PoliciesSection,
    Results,
    Retraining,
    ServingSection,
)

from fivestage_assistant.passages import Document

FOLDER = "run"


def records(contract: Contract, results: Results, releases: Sequence[Release] = ()) -> list[Document]:
    """The pages about a run.

    Args:
        contract: the problem's contract.
        results: what the stages have left.
        releases: to clusters, oldest first.

    Returns:
        A document for each stage that has run, with the file that it was written from.
    """
    found = {"decisions": (decisions_text(contract, results), "problem/problem.yaml")}
    if results.data:
        found["data"] = _page("The data of the last run", _data(contract, results.data)), _file("data")
    if results.model:
        found["model-card"] = card_text(contract, results), _file("model")
    if results.serving:
        found["serving"] = _page("The service in the last run", _serving(results.serving)), _file("serving")
    if results.monitoring:
        text = _page(
            "Monitoring, alerts and retrainings of the last run", _monitoring(contract, results.monitoring)
        )
        found["monitoring"] = text, _file("monitoring")
    if results.policies:
        text = _page("Retraining policies compared", _policies(contract, results.policies))
        found["policies"] = text, _file("policies")
    if releases:
        found["releases"] = _page("Releases", _releases(releases)), "var/releases.jsonl"
    return [Document(f"{FOLDER}/{name}.md", text, origin) for name, (text, origin) in found.items()]


def _file(stage: str) -> str:
    return str(Path("var", "results", f"{stage}.json"))


def _page(title: str, lines: Iterator[str]) -> str:
    return "\n".join((f"# {title}", "", *lines)) + "\n"


def _section(heading: str, *lines: str) -> Iterator[str]:
    yield from ("", f"## {heading}")
    for line in lines:
        yield from ("", line)


def _data(contract: Contract, data: DataSection) -> Iterator[str]:
    yield sentences.data(contract, data)
    yield from _section(
        "Raw tables",
        *(f"The raw table `{name}` has {rows:,} rows." for name, rows in data.raw_rows.items()),
        f"{data.rows:,} decisions were kept after cleaning.",
    )
    yield from _section(
        "Quarantine",
        *(
            f"{rows:,} rows or values were put into quarantine: {why}."
            for why, rows in data.quarantined.items()
        ),
    )
    yield from _section(
        "Windows",
        *(
            f"The {sentences.WINDOWS[one.kind]} window goes from {fmt.day(one.start)} ({one.start}) to "
            f"before {fmt.day(one.end)} ({one.end}) and holds {one.rows:,} decisions."
            for one in data.windows
        ),
    )
    yield from _section(
        "Leakage probes",
        *(f"Probe “{one.name}” {_passed(passed=one.passed)}: {one.sentence}." for one in data.probes),
    )
    if data.label_rate and contract.task == "binary":
        by_rate = sorted(data.label_rate, key=lambda week: week.rate)
        low, high = by_rate[0], by_rate[-1]
        yield from _section(
            "The label by week",
            f"The label rate was lowest in the week from {fmt.day(low.start)}, with {low.rate:.1%}.",
            f"The label rate was highest in the week from {fmt.day(high.start)}, with {high.rate:.1%}.",
        )


def _serving(serving: ServingSection) -> Iterator[str]:
    yield sentences.serving(serving)
    yield from _section(
        "Latency",
        f"The median latency of a one-row request is {serving.p50_ms:.2f} ms, its 99th percentile (p99) "
        f"{serving.p99_ms:.2f} ms.",
    )
    yield from _section(
        "Requests",
        f"{serving.requests:,} requests were sent to the service, and {serving.failed:,} of them failed.",
        f"{serving.at_switch:,} requests were sent while a new version took over.",
        f"Version {serving.version} serves when the run is over; `{serving.how_to_open}` starts it again.",
    )


def _monitoring(contract: Contract, found: MonitoringSection) -> Iterator[str]:
    yield sentences.monitoring(contract, found)
    for period in found.periods:
        last = period.end - timedelta(days=1)
        yield from _section(f"Period from {period.start} to {last}", *_period(contract, period, last))
    for one in found.retrainings:
        yield from _section(f"Retraining of {one.at}: version {one.version}", *_retraining(one))
    yield from _section(
        "Which version served when",
        *(f"From {fmt.day(one.at)} ({one.at}) on, version {one.version} served." for one in found.versions),
    )


def _period(contract: Contract, period: PeriodRow, last: date) -> Iterator[str]:
    currency = contract.costs.currency
    yield (
        f"From {fmt.day(period.start)} to {fmt.day(last)}, version {period.version} made {period.rows:,} "
        f"predictions; {period.label_share:.1%} of the outcomes have arrived. The period was "
        f"{'bad' if period.bad else 'good'}."
    )
    yield f"Verdict: {period.verdict}."
    shown = task_display.shown_of(contract).periods
    for name in (*shown, "rate", "savings_share"):
        if name in period.metrics:
            unit = f" {currency}" if name == "cost_per_1000" else ""
            found = fmt.estimate(name, period.metrics[name])
            yield f"The {fmt.metric_title(name)} of this period was {found}{unit}."
    if not period.drift:
        yield "No drift alert fired in this period."
    yield from (f"A drift alert fired for {one.sentence}." for one in period.drift if one.drifted)
    yield from (f"Cause, {one.kind}: {one.sentence}." for one in period.causes)
    days = (period.start + timedelta(days=n) for n in range((period.end - period.start).days))
    yield f"```\n{', '.join(fmt.day(day) for day in days)}\n```"  # to be found by, and no sentence to quote


def _retraining(one: Retraining) -> Iterator[str]:
    verdict = "became the champion" if one.promoted else "was refused"
    yield f"On {fmt.day(one.at)} version {one.version} was trained because {one.reason}, and {verdict}."
    yield f"{fmt.capital(sentences.gates(one.gates))}."
    yield from (_gate(one.version, gate) for gate in one.gates)


def _gate(version: str, gate: Gate) -> str:
    return f"Gate “{gate.name}” of version {version} {_passed(passed=gate.passed)}: {gate.sentence}."


def _policies(contract: Contract, found: PoliciesSection) -> Iterator[str]:
    yield sentences.policies(contract, found)
    yield from _section(
        "Each policy",
        *(
            f"The policy “{one.name}” trained {one.trainings:.1f} times and saved "
            f"{fmt.estimate('cost_per_1000', one.saved)} {contract.costs.currency} per 1,000 decisions."
            for one in found.years
        ),
    )


def _releases(found: Sequence[Release]) -> Iterator[str]:
    for one in found:
        failed = f" It failed: {one.failed}." if one.failed else ""
        yield from _section(
            f"Release {one.number}",
            f"Release {one.number} of {one.when} by {one.who} brought version {one.model} with image "
            f"{one.image} to {one.overlay}: {one.outcome}. Reason given: {one.why or 'none'}.{failed} "
            f"The release before it is {one.previous or 'none'}.",
        )


def _passed(*, passed: bool) -> str:
    return "passed" if passed else "failed"
