"""The command `make init`: parse its options, write the problem and report the result."""

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from fivestage.common.files import write_text
from fivestage.common.settings import ROOT
from fivestage.scaffold.demo import remove_demo
from fivestage.scaffold.draft import InitOptions, draft
from fivestage.scaffold.write import CONTRACT, MODULES, report, write_problem

PROBLEM = ROOT / "problem"
ANSWERS = ROOT / ".copier-answers.yml"
OPTIONS = {one.name: one.metadata["about"] for one in fields(InitOptions) if one.metadata}
LISTS = [one.name for one in fields(InitOptions) if one.default == ()]


def options_of(words: Mapping[str, str]) -> InitOptions:
    """Parse the options; their names may be upper-case, as in make.

    Several columns are separated by commas, or by spaces if no column name contains a space; a name that
    contains a comma must be in double quotes.
    """
    given: dict[str, Any] = {name.lower(): word for name, word in words.items()}
    given["data"] = os.path.expanduser(given.get("data", ""))  # noqa: PTH111 (it may be a URL)
    for name in LISTS:
        fields = next(csv.reader([given.get(name, "")], skipinitialspace=True), [])
        given[name] = tuple(one.strip() for one in fields if one.strip())
    return InitOptions(**given)


def start(words: Mapping[str, str], folder: Path = PROBLEM) -> Iterator[str]:
    """Write the problem for a table, replacing the current one, and report the findings.

    Raises:
        UserError: If no problem can be made from the table.
    """
    answers = _answers()
    drafted = draft(options_of({**words, "usual": str(answers.get("task", ""))}))
    write_problem(drafted, folder)
    yield from report(drafted)
    if folder == PROBLEM:
        if removed := remove_demo(ROOT):
            yield f"Removed, as only the demo needs them: {', '.join(removed)}. Git keeps what was committed."
        _save_answers(answers | {"data": "own", "task": drafted.target.task})
    yield f"Written: {folder / CONTRACT}, {', '.join(MODULES)}."


def _answers() -> dict[str, Any]:
    """Return the answers from which the project was generated."""
    return yaml.safe_load(ANSWERS.read_text(encoding="utf-8")) if ANSWERS.exists() else {}


def _save_answers(answers: dict[str, Any]) -> None:
    """Save the answers, so that an update of the template does not restore the demo's files."""
    if ANSWERS.exists():
        head = ANSWERS.read_text(encoding="utf-8").splitlines()[0]
        text = f"{head}\n{yaml.safe_dump(answers, allow_unicode=True)}"
        write_text(ANSWERS, text)
