"""The pages are rendered from measurements, without numbers written by hand."""

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from fivestage.common.errors import UserError
from fivestage.common.settings import ROOT
from problem import PROBLEM
from tools.bench.monitoring import share_of
from tools.book.__main__ import generated_pages, require_written
from tools.book.measured import records
from tools.book.pages import SOURCES, Book, Facts, sizing_of
from tools.book.site import stage

PAGES = sorted(SOURCES.glob("*/*.j2"))
RENDERED = re.compile(r"{{.*?}}|{%.*?%}|{#.*?#}|`[^`\n]*`|\]\([^)]*\)", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.@])\d[\d.,]*\d|(?<![\w.@])\d(?![\w])")  # the 10 of MRR@10 is a name's
NOT_MEASURED = {"2001", "2013", "2017", "9457", "503", "1,000"}  # years of papers and data, codes, and a unit
of_the_demo = pytest.mark.skipif(not SOURCES.exists(), reason="a project of another name has no book yet")
LIST = re.compile(r"^\d+\. ", re.MULTILINE)


def test_pages_say_what_was_measured() -> None:
    require_written(generated_pages())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_number_is_written_by_hand(path: Path) -> None:
    told = LIST.sub("", RENDERED.sub("", path.read_text(encoding="utf-8")))
    assert not [number for number in NUMBER.findall(told) if number not in NOT_MEASURED]


def book(tmp_path: Path, text: str) -> Book:
    (tmp_path / "one.md.j2").write_text(text)
    contract = PROBLEM.contract
    return Book(Facts(contract, records(), sizing_of(contract)), tmp_path)


def test_a_number_that_is_not_there_is_told_by_its_page(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.json, which is missing: run `make bench-nowhere`"):
        book(tmp_path, '{{ bench["nowhere"]["rows"] }}').pages()
    with pytest.raises(UserError, match=r"one\.md\.j2 cannot be filled: .* is undefined"):
        book(tmp_path, "{{ nothing.rows }}").pages()


def test_a_page_without_one_of_its_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="decision"):
        book(tmp_path, '{% extends "page.md.j2" %}{% block question %}Why?{% endblock %}').pages()


def test_a_page_that_says_something_else_is_named() -> None:
    with pytest.raises(UserError, match=r"README\.md\. Run `make docs`"):
        require_written({"README.md": "another number"})


def test_lines_of_code_may_move() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    require_written({"docs/architecture.md": re.sub(r"#L\d+\)", "#L1)", text)})


def test_every_link_of_every_page_leads_somewhere(tmp_path: Path) -> None:
    stage(work=tmp_path)
    assert (tmp_path / "source" / "index.md").exists()


@of_the_demo
def test_what_the_bench_of_monitoring_leaves_is_told() -> None:
    seen, unseen = asdict(share_of([True] * 10)), asdict(share_of([False] * 10))

    def fault(name: str, share: dict[str, float], *, gross: bool) -> dict[str, Any]:
        return {"fault": name, "gross": gross, "day": unseen, "week": share, "named": share}

    contract, known = PROBLEM.contract, records()
    found = {
        "false_alarms": [{"days": 1, "alarms": unseen, "evidently": seen}, {"days": 30, "alarms": unseen}],
        "level": contract.monitoring.false_alarm,
        "labels": [fault("label rate + 10 points", seen, gross=False)],
        "faults": [fault("unit, x 1000", seen, gross=True), fault("mean + 0.25 sd", unseen, gross=False)],
    }
    told = known | {"monitoring": replace(next(iter(known.values())), found=found)}
    pages = Book(Facts(contract, told, sizing_of(contract))).pages()
    thresholds = pages["docs/design/5-monitoring/04-alert-thresholds.md"]
    assert "| 30 | 10 | 0% (" in thresholds
    assert "| gross | 1 | 0% | 100% |" in thresholds
    drill = pages["docs/design/5-monitoring/06-incident-drill.md"]
    assert "detected within a day in 0 of 10 trials, within a week in 10 of 10" in drill
    watched = pages["docs/design/5-monitoring/01-what-to-watch.md"]
    assert "detected within a day in 0% of the trials, within a week in 100%" in watched


@of_the_demo
def test_planned_numbers_name_where_they_were_measured() -> None:
    told = generated_pages()["docs/design/4-serving/10-cost-per-million.md"].splitlines()[-1]
    assert told.startswith("*Numbers: `make bench-serving`, ")
    assert "the contract and the code" not in told


@of_the_demo
def test_what_a_first_run_takes_is_read_from_its_record() -> None:
    contract, known = PROBLEM.contract, records()
    spent = {"seconds": 312.0, "cpu_seconds": 150.0}
    stages = {"model": spent, "total": spent}
    found = {"cores": 2, "runs": {"first": stages}, "installation": {"seconds": 61.0, "megabytes": 1234.0}}
    texts = [
        Book(
            Facts(contract, known | {"speed": replace(known["demo"], found=one)}, sizing_of(contract))
        ).marked()
        for one in (found, found | {"installation": None})
    ]
    readme, speed = (texts[0][name] for name in ("README.md", "docs/speed.md"))
    assert "1.2 GB of disk" in readme
    assert "the run itself takes 5 min 12 s on 2 cores" in readme
    assert "| model | 5 min 12 s | 2 min 30 s |" in speed
    assert "GB of disk" not in texts[1]["README.md"]
    unmeasured = Book(Facts(contract, {n: r for n, r in known.items() if n != "speed"}, sizing_of(contract)))
    assert "make bench-demo" in unmeasured.marked()["docs/speed.md"]
