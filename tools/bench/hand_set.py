"""The constants of the drift checks that were set by hand, with their reasons, read from the source code."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fivestage.common.settings import ROOT

MONITORING = "packages/fivestage/src/fivestage/monitoring"
FILES = (
    *(f"{MONITORING}/{name}.py" for name in ("daily_statistics", "residuals", "drift", "label_drift")),
    "monitoring/checks.py",
)


@dataclass(frozen=True)
class HandSet:
    """A constant set by hand: its file, name, value in the source, and reason."""

    file: str
    name: str
    value: str
    reason: str


def hand_set() -> list[HandSet]:
    """Return all constants except the number of days in a week."""
    return [one for file in FILES for one in numbers_in(ROOT / file) if one.name != "WEEK"]


def numbers_in(file: Path) -> Iterator[HandSet]:
    """Yield a module's numeric constants; the reason is the comment after each."""
    text = file.read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
            continue
        value = ast.get_source_segment(text, node.value) or ""
        numeric = isinstance(node.value, ast.Constant) and isinstance(node.value.value, int | float)
        if numeric or value.startswith("math."):
            line = text.splitlines()[node.lineno - 1]
            yield HandSet(file.name, node.targets[0].id, value, line.partition("  # ")[2])


def table() -> str:
    """Return the constants as a table in Markdown."""
    rows = [f"| `{one.name}` | {one.value} | {one.reason} | `{one.file}` |" for one in hand_set()]
    head = ["| number | value | what it is, and why | file |", "| --- | ---: | --- | --- |"]
    return "\n".join([*head, *rows])
