"""What clients saw during a scenario, compared with what is promised."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Seen:
    """The requests during a scenario."""

    what: str
    why: str = ""  # why requests may fail at the first try; empty if none may
    skipped: str = ""  # why it could not be run
    seconds: float = 0.0  # duration, without the load before and after
    requests: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)  # of the first try
    lost: int = 0  # failed at every try
    missing: int = 0  # predictions that are not in the log
    p99_ms: float = 0.0
    slowest_ms: float = 0.0

    @property
    def failed(self) -> int:
        """Requests that failed at the first try."""
        return sum(self.failures.values())


def count(seen: Seen, lines: Sequence[Mapping[str, Any]]) -> None:
    """Record the client's output, a line per try."""
    first = [line for line in lines if line["try"] == 0]
    spent = sorted(line["seconds"] * 1000 for line in lines if line["id"])
    seen.requests = len(first)
    failures = Counter(
        f"{line['failed']}, {'kept' if line['kept'] else 'new'} connection"
        for line in first
        if line["failed"]
    )
    seen.failures = dict(failures)
    seen.lost = sum(line["last"] and bool(line["failed"]) for line in lines)
    seen.p99_ms, seen.slowest_ms = spent[int(0.99 * len(spent))], spent[-1]


def broken_promises(seen: Seen) -> list[str]:
    """Return a sentence for each broken promise."""
    if seen.skipped:
        return []
    broken = {
        "failed at the first try": 0 if seen.why else seen.failed,
        "failed at every try": seen.lost,
        "were answered but are not in the log": seen.missing,
    }
    return [f"{seen.what}: {number} requests {promise}." for promise, number in broken.items() if number]


def table(all_seen: Sequence[Seen], per_second: int, cluster: str) -> str:
    """Return the results as a table in Markdown."""
    lines = [
        "| while | for, s | requests | failed | failed for good | not in the log | p99, ms | slowest, ms |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in all_seen:
        if one.skipped:
            lines.append(f"| {one.what} | skipped: {one.skipped} | | | | | | |")
            continue
        numbers = (one.requests, one.failed, one.lost, one.missing)
        counted = " | ".join(f"{number:,}" for number in numbers)
        lines.append(
            f"| {one.what} | {one.seconds:.0f} | {counted} | {one.p99_ms:.0f} | {one.slowest_ms:.0f} |"
        )
    failures = [
        f"- {one.what}: {number} x {what}{f' ({one.why})' if one.why else ''}."
        for one in all_seen
        for what, number in one.failures.items()
    ]
    load = f"{per_second} requests a second from a pod through the Service, half of them on new connections"
    return "\n".join(
        [
            *lines,
            "",
            f"{load}; {cluster}.",
            *(["", "What failed at the first try:", "", *failures] if failures else []),
        ]
    )
