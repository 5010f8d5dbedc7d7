"""Notices: what a run reports to people outside of the terminal, as an issue or a pull request.

A notice is a Markdown file with a YAML head that programs read. `fivestage.ci` opens issues and pull requests
from it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import TypeAdapter, ValidationError

from fivestage.common.errors import UserError
from fivestage.common.files import write_whole
from fivestage.contract.contract import Contract, day_of
from fivestage.evaluation.gates import Gate
from fivestage.reporting import number_format as fmt
from fivestage.reporting import sentences
from fivestage.reporting.results import Estimate

if TYPE_CHECKING:  # a workflow that only reads notices needs neither numpy nor Evidently
    from fivestage.evaluation.metrics import Scored
    from fivestage.monitoring.period import MonitoredPeriod
    from fivestage.monitoring.retraining import RetrainingDecision
    from fivestage.monitoring.retraining_loop import TrainingResult

FENCE = "---\n"
MONITORING, RETRAINING = "monitoring", "retraining"


@dataclass(frozen=True)
class Notice:
    """A report, and whether a person has to look at it.

    Args:
        kind: `monitoring` or `retraining`; of each kind at most one issue is open.
        title: of the issue or pull request.
        attention: whether a person has to look at it.
        body: Markdown.
        facts: values for the workflow's next steps, by name.
    """

    kind: str
    title: str
    attention: bool
    body: str
    facts: dict[str, str] = field(default_factory=dict)


def write_notice(notice: Notice, path: Path) -> Path:
    """Write a notice to a file, completely or not at all.

    Args:
        notice: what to write.
        path: the file; its folder is made.

    Returns:
        The path.

    Raises:
        UserError: when the file cannot be written.
    """
    head = {
        "kind": notice.kind,
        "title": notice.title,
        "attention": notice.attention,
        "facts": notice.facts,
    }
    text = (
        f"{FENCE}{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}{FENCE}\n{notice.body.strip()}\n"
    )
    return write_whole(path, lambda scratch: scratch.write_text(text, encoding="utf-8"))


def read_notice(path: Path) -> Notice:
    """Read a notice from a file.

    Args:
        path: a file that `write_notice` has written.

    Returns:
        The notice.

    Raises:
        UserError: when there is no such file, or it holds something else.
    """
    try:
        _, head, body = path.read_text(encoding="utf-8").split(FENCE, maxsplit=2)
        return TypeAdapter(Notice).validate_python(yaml.safe_load(head) | {"body": body.strip()})
    except OSError as error:
        raise UserError(
            f"There is no notice at {path}: the command that writes it ended before that."
        ) from error
    except (ValueError, TypeError, yaml.YAMLError, ValidationError) as error:
        raise UserError(f"{path} is not a notice: it needs a head between two lines of ---.") from error


def write_period_notice(
    contract: Contract, monitored: "Sequence[tuple[MonitoredPeriod, RetrainingDecision]]", path: Path
) -> Path:
    """Report the periods that one run has monitored, the latest first.

    The latest period decides whether a person has to look.

    Args:
        contract: the problem's contract.
        monitored: each period with the policy's decision after it, oldest first; at least one.
        path: the file; its folder is made.

    Returns:
        The path.

    Raises:
        UserError: when the file cannot be written.
    """
    return write_notice(period_notice(contract, monitored), path)


def period_notice(
    contract: Contract, monitored: "Sequence[tuple[MonitoredPeriod, RetrainingDecision]]"
) -> Notice:
    """The notice of periods, oldest first."""
    (latest, verdict), *_ = newest = list(reversed(monitored))
    return Notice(
        MONITORING,
        f"{contract.title} Monitoring",
        _attention(latest, verdict),
        "\n\n".join("\n".join(_period(*one)) for one in newest),
        {"act": _yes(bool(verdict.retrain or verdict.promote)), "as_of": str(day_of(latest.end))},
    )


def period_lines(monitored: "MonitoredPeriod", verdict: "RetrainingDecision", page: Path) -> Iterator[str]:
    """Describe a period for the terminal.

    Args:
        monitored: the period.
        verdict: the policy's decision after it.
        page: its drift report.

    Yields:
        Lines: how the period went, what was found, and what to do.
    """
    performance = monitored.performance
    yield f"From {day_of(monitored.start)} to {day_of(monitored.end)}: {performance.sentence}."
    yield from (f"  {cause.kind}: {cause.sentence}" for cause in monitored.causes)
    advice = 'make retrain ARGS="--if-asked"' if verdict.retrain or verdict.promote else "keep the model"
    yield f"{advice}: {verdict.reason}.{f' The drift report is {page}.' if performance.rows else ''}"


def write_evaluation_notice(contract: Contract, result: "TrainingResult", path: Path) -> Path:
    """Report a champion/challenger evaluation; a person has to look if a gate failed.

    Args:
        contract: the problem's contract.
        result: the challenger, its gates, and whether it is the champion now.
        path: the file; its folder is made.

    Returns:
        The path.

    Raises:
        UserError: when the file cannot be written.
    """
    version, at = result.version.version, str(day_of(result.version.as_of))
    return write_notice(
        evaluation_notice(contract, version, result.gates, at, promoted=result.promoted), path
    )


def evaluation_notice(
    contract: Contract, version: str, gates: Sequence[Gate], as_of: str, *, promoted: bool
) -> Notice:
    """The notice of a challenger that was trained as of a day."""
    passed = all(gate.passed for gate in gates)
    waits = passed and not promoted
    outcome = "is the champion" if promoted else "waits for approval" if waits else "stays challenger"
    lines = [
        f"Version {version}, trained as of {as_of}, {outcome}: {sentences.gates(tuple(gates))}.",
        "",
        "| gate | result | value | limit | finding |",
        "|---|---|---:|---:|---|",
        *(
            f"| {fmt.spaced(gate.name)} | {_result(gate)} | {fmt.compact(gate.value)} "
            f"| {fmt.compact(gate.limit)} | {gate.sentence} |"
            for gate in gates
        ),
    ]
    return Notice(
        RETRAINING,
        f"{contract.title} Version {version}",
        not passed,
        "\n".join(lines),
        {"version": version, "passed": _yes(passed), "promoted": _yes(promoted), "waits": _yes(waits)},
    )


def _result(gate: Gate) -> str:
    if not gate.applicable:
        return "not applicable"
    return "passed" if gate.passed else "**failed**"


def _period(monitored: "MonitoredPeriod", verdict: "RetrainingDecision") -> Iterator[str]:
    performance = monitored.performance
    yield f"## From {day_of(monitored.start)} to {day_of(monitored.end)}"
    yield ""
    yield (
        f"{fmt.capital(performance.sentence)}. {fmt.plural(performance.rows, 'row')}; "
        f"{fmt.percent(performance.label_share)} of the labels have arrived."
    )
    yield ""
    yield f"**{sentences.advice(verdict)}**: {verdict.reason}."
    yield ""
    if monitored.causes:
        yield from (f"- **{cause.kind}**: {cause.sentence}" for cause in monitored.causes)
    else:
        yield "No check found more than chance explains."
    yield ""
    yield "| metric | measured | estimated before the labels |"
    yield "|---|---:|---:|"
    for name in fmt.in_order(performance.expected.scores):
        measured = _estimate(performance.scored, name) if performance.scored else fmt.NONE
        yield f"| {fmt.metric_title(name)} | {measured} | {_estimate(performance.expected, name)} |"


def _estimate(scored: "Scored", name: str) -> str:
    if name not in scored.scores:
        return fmt.NONE
    return fmt.estimate(name, Estimate(scored.scores[name], *scored.intervals.get(name, ())))


def _attention(monitored: "MonitoredPeriod", verdict: "RetrainingDecision") -> bool:
    """Input drift alone calls nobody, as inputs drift with every season."""
    serious = any(cause.kind != "input shift" for cause in monitored.causes)
    return serious or monitored.performance.bad or verdict.retrain or bool(verdict.promote)


def _yes(value: bool) -> str:  # noqa: FBT001 (a word for it)
    return "true" if value else "false"
