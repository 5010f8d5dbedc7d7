"""`make init`: its options, and what it reports."""

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from fivestage.common.files import write_text
from fivestage.common.settings import ROOT
from fivestage.reporting.number_format import every, plural
from fivestage.scaffold.demo import remove_demo
from fivestage.scaffold.draft import InitOptions, draft
from fivestage.scaffold.notes import notes_of
from fivestage.scaffold.write import write_problem

PROBLEM = ROOT / "problem"
ANSWERS = ROOT / ".copier-answers.yml"
OPTIONS = {one.name: one.metadata["about"] for one in fields(InitOptions) if one.metadata}
LISTS = [one.name for one in fields(InitOptions) if one.default == ()]


def options_of(words: Mapping[str, str]) -> InitOptions:
    """The options from words, whose names may stand in capitals as make has them.

    Several columns are separated by commas, or by spaces where none of them has a space in its name; a name
    with a comma stands in double quotes.
    """
    given: dict[str, Any] = {name.lower(): word for name, word in words.items()}
    given["data"] = os.path.expanduser(given.get("data", ""))  # noqa: PTH111 (an address is no path)
    for name in LISTS:
        fields = next(csv.reader([given.get(name, "")], skipinitialspace=True), [])
        given[name] = tuple(one.strip() for one in fields if one.strip())
    return InitOptions(**given)


def start(words: Mapping[str, str], folder: Path = PROBLEM) -> Iterator[str]:
    """Write the problem of a table, in place of the one that is there, and report what was found.

    Raises:
        UserError: when the table cannot work.
    """
    answers = _answers()
    found = draft(options_of({**words, "usual": str(answers.get("task", ""))}))
    write_problem(found, folder)
    gone = 0
    if folder == PROBLEM:
        gone = remove_demo(ROOT)
        _answer(answers | {"data": "own", "task": found.target.task})
    target, windows = found.target, found.windows
    shares = (f"{name} {share:.1%}" for name, share in zip(target.classes, target.shares, strict=True))
    spread = ", ".join(shares) or f"from {target.low:g} to {target.high:g}, on average {target.mean:.4g}"
    yield f"{target.header}, {target.task}: {len(found.table):,} rows ({spread})."
    many = plural(len(found.features), "column")
    yield f"{many} to learn from{'; left out:' if found.left_out else '.'}"
    yield from (f"  {column.header}: {column.left_out}" for column in found.left_out)
    made_up = f"{windows.simulated} made-up days, for {windows.why}" if windows.simulated else windows.why
    often = every(windows.period_days, "day")
    yield f"Time: {made_up}; tested from {windows.test_start} on, watched {often}."
    yield from notes_of(found)
    if gone:
        files = plural(gone, "file of the demo that was here is", "files of the demo that was here are")
        yield f"{files} gone; git has kept what was committed."
    yield f"Written: {folder / 'problem.yaml'}, dataset.py, features.py, candidates.py."


def _answers() -> dict[str, Any]:
    """What was answered when the project was made of the template."""
    return yaml.safe_load(ANSWERS.read_text(encoding="utf-8")) if ANSWERS.exists() else {}


def _answer(answers: dict[str, Any]) -> None:
    """Keep answers, so that an update does not bring back what a table of one's own does without."""
    if ANSWERS.exists():
        head = ANSWERS.read_text(encoding="utf-8").splitlines()[0]
        text = f"{head}\n{yaml.safe_dump(answers, allow_unicode=True)}"
        write_text(ANSWERS, text)
