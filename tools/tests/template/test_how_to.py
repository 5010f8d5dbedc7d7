"""The code of the how-to pages works unchanged in a project of each task."""

import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import numpy as np
import pandas as pd
import pytest

from fivestage.common.settings import ROOT
from fivestage.contract.contract import TASKS
from fivestage.data.cleaning import text
from tests.repositories import commit
from tests.scaffold.odd_tables import keys
from tools.tests.template.projects import OWN, generate, make, run_tests

COLUMNS = {  # of the examples, in the place of the pages' `amount` and `age`
    "binary": {"amount": "mean_area", "age": "mean_radius"},
    "multiclass": {"amount": "proline", "age": "alcohol"},
    "regression": {"amount": "bmi", "age": "s1"},
}
BLOCK = re.compile(r"(?ms)^( *)```python\n(.*?)^ *```")
LAST_CANDIDATE = "    }\n    if rows >= LARGE:"
GATES = "@step(cache_policy=caching.GATES_CACHE"
IMPORTS = re.compile(r"(?:(?:(?:from|import) .*)?\n)*")


def blocks(project: Path, page: str, names: dict[str, str]) -> list[str]:
    """Return the Python code of a page, with the names of a project's columns."""
    text = (project / "docs" / "how-to" / f"{page}.md").read_text(encoding="utf-8")
    found = [re.sub(f"(?m)^{indent}", "", code) for indent, code in BLOCK.findall(text)]
    for name, own in names.items():
        found = [one.replace(f'"{name}"', f'"{own}"').replace(f"/{name}", f"/{own}") for one in found]
    return found


def paste(path: Path, block: str, *, before: str = "", instead: str = "") -> None:
    """Paste a block: imports at the top of the file, the rest before or in place of a text, or at the end."""
    text = path.read_text(encoding="utf-8")
    imports = IMPORTS.match(block)
    assert imports
    code = block[imports.end() :]
    if instead or before:
        assert text.count(instead or before) == 1, (path.name, instead or before)
        text = (
            text.replace(instead, code)
            if instead
            else text.replace(before, code.rstrip() + "\n" * 3 + before)
        )
    else:
        text += f"\n\n{code}"
    first = re.search(r"(?m)^(from|import) ", text)
    assert first
    path.write_text(text[: first.start()] + imports[0] + text[first.start() :], encoding="utf-8")


def follow_all_pages(project: Path, task: str) -> None:
    """Add a feature, a candidate, a gate, two checks and a route."""
    names = COLUMNS[task]
    features, model, app = (
        project / name for name in ("problem/features.py", "steps/model.py", "serving/app.py")
    )
    feature, *_ = blocks(project, "add-a-feature", names)
    (columns,) = re.findall(r"(?ms)^def columns\(.*?(?=^\S)", features.read_text(encoding="utf-8"))
    paste(features, feature, instead=columns)
    candidate, *_ = blocks(project, "add-a-candidate", names)
    candidate = candidate.replace("Classifier", "Regressor") if task == "regression" else candidate
    candidates = project / "problem" / "candidates.py"
    paste(candidates, candidate, before=LAST_CANDIDATE)
    gate, line, not_applicable, test, rare, rare_line = blocks(project, "add-a-gate", names)
    share = "    share = float("
    paste(
        model,
        gate.replace(share, f"    if decision.empty:\n{indent(not_applicable, ' ' * 4)}{share}"),
        before=GATES,
    )
    (last,) = re.findall(r"(?m)^    return run_gates\(.*\n", model.read_text(encoding="utf-8"))
    if task == "multiclass":
        paste(model, rare, before=GATES)
        both = line.replace("decisions_differ(", "found, decisions_differ(")
        line = rare_line.partition("    verdict")[0] + both
    paste(model, line, instead=last)
    paste(project / "tests" / "test_model.py", test)
    checks = project / "monitoring" / "checks.py"
    there = "            RowCount(tests=[gt(0)]),\n"
    one, metric, another = blocks(project, "add-a-check", names)
    paste(checks, one, instead=there)
    paste(checks, metric, before="def checks(")
    paste(checks, another, instead=there)
    route, test = blocks(project, "add-a-route", names)
    paste(app, route, before="    app.add_standard_routes()")
    paste(project / "tests" / "test_service.py", test)
    make(project, "format")


def lint(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--quiet"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("task", TASKS)
def test_the_code_of_the_pages_fits_where_they_say(template: Path, tmp_path: Path, task: str) -> None:
    project = generate(template, tmp_path / "project", **OWN, task=task)
    follow_all_pages(project, task)
    _, recipe, others = blocks(project, "add-a-candidate", COLUMNS[task])
    candidates = project / "problem" / "candidates.py"
    paste(candidates, others, before=LAST_CANDIDATE)
    paste(candidates, recipe)
    make(project, "format")
    lint(project)


@pytest.mark.long
@pytest.mark.parametrize("task", TASKS)
def test_what_the_pages_add_is_tested_trained_served_and_watched(
    template: Path, tmp_path: Path, task: str
) -> None:
    project = commit(generate(template, tmp_path / "project", **OWN, task=task), "start")
    follow_all_pages(project, task)
    make(project, "test", "ARGS=-q")
    printed = make(project, "demo")
    assert "pass  decisions differ: the most frequent decision" in printed
    report = (project / "reports" / "index.html").read_text(encoding="utf-8")
    assert "random forest" in report
    assert any(
        "share of zeros" in page.read_text(encoding="utf-8") for page in (project / "reports").rglob("*.html")
    )


def test_the_line_for_times_of_day_reads_each_cell() -> None:
    page = (ROOT / "docs" / "how-to" / "your-own-table.md").read_text(encoding="utf-8")
    (line,) = re.findall(r'`"opens": (.*),`', page)
    cells = ["19:25", "19:25:30", "7:05", "soon", "", None, "1925"]
    names = {"pd": pd, "text": text, "table": pd.DataFrame({"opens": cells})}
    minutes = eval(line, names)  # noqa: S307 (the line of the page)
    np.testing.assert_array_equal(minutes, [1165, 1165.5, 425, *[np.nan] * 4])


@pytest.mark.long
def test_a_feature_of_an_entitys_history(template: Path, tmp_path: Path) -> None:
    project = commit(generate(template, tmp_path / "project", **OWN), "start")
    make(project, "init", *(f"{name}={value}" for name, value in keys(tmp_path).items()))
    features = project / "problem" / "features.py"
    _, history, line = blocks(project, "add-a-feature", {"customer": "customer_id"})
    paste(features, history, before="SETS = {")
    paste(features, line, instead="SETS = {\n")
    make(project, "format")
    lint(project)
    run_tests(project, "tests/test_problem.py", "tests/test_model.py")


@pytest.mark.long
def test_a_target_of_ones_own(template: Path, tmp_path: Path) -> None:
    """Edit by hand, for the same task: the label, its meaning, and the name."""
    project = commit(generate(template, tmp_path / "project", **OWN), "start")
    dataset, contract = (project / "problem" / name for name in ("dataset.py", "problem.yaml"))
    (block,) = blocks(project, "your-own-table", {"amount": "mean_area"})
    (label,) = re.findall(r"(?m)^ +label = .*\n", dataset.read_text(encoding="utf-8"))
    paste(dataset, block, instead=label)
    text = contract.read_text(encoding="utf-8").replace("name: breast-cancer-target", "name: large-ones")
    contract.write_text(
        text.replace("the column target says malignant", "an area above 700"), encoding="utf-8"
    )
    make(project, "format")
    lint(project)
    run_tests(project, "tests/test_problem.py", "tests/test_model.py")
    assert "version 1 " in make(project, "train")
