import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from fivestage.common.errors import UserError
from problem import PROBLEM
from tools.book.measured import Record, collect, command_of, problem_now, records, require_current, write

RECORD = Record(date(2026, 1, 2), "abc", "2 cores", {"costs": {"act": 1}}, {"rows": 3})


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write("scale", RECORD, tmp_path)
    assert records(tmp_path) == {"scale": RECORD}


def test_what_is_no_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "scale.json").write_text('{"found": 1}')
    with pytest.raises(UserError, match=r"scale\.json is not a record"):
        records(tmp_path)


def test_runs_are_taken_up_once_and_again_when_they_found_something_else(tmp_path: Path) -> None:
    bench, to = tmp_path / "bench", tmp_path / "measured"
    bench.mkdir()
    found = bench / "scale.json"
    found.write_text(json.dumps([{"rows": 3}]))
    nothing = tmp_path / "results"
    assert collect("abc", nothing, bench, to) == ["scale"]
    assert collect("later", nothing, bench, to) == []
    assert records(to)["scale"].commit == "abc"
    found.write_text(json.dumps([{"rows": 4}]))
    assert collect("later", nothing, bench, to) == ["scale"]
    assert records(to)["scale"].found == [{"rows": 4}]


def test_how_long_a_demo_takes_is_another_record_than_what_it_finds(tmp_path: Path) -> None:
    bench, to = tmp_path / "bench", tmp_path / "measured"
    bench.mkdir()
    (bench / "demo.json").write_text('{"cores": 2}')
    assert collect("abc", tmp_path / "results", bench, to) == ["speed"]
    assert command_of("speed") == "make bench-demo"


def test_a_backtest_is_taken_up_without_what_only_its_plot_shows(tmp_path: Path) -> None:
    results, to = tmp_path / "results", tmp_path / "measured"
    results.mkdir()
    found = {"decisions": 9, "policies": [{"name": "never", "by_day": [1.0, 2.0]}]}
    (results / "policies.json").write_text(json.dumps(found))
    assert collect("abc", results, tmp_path / "bench", to) == ["year"]
    assert records(to)["year"].found == {"decisions": 9, "policies": [{"name": "never", "by_day": []}]}


@pytest.mark.parametrize("now", [{"costs": {"act": 2}}, {"costs": {}}, {}])
def test_a_value_that_has_changed_makes_what_was_measured_stale(now: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"costs.*`make bench-scale`"):
        require_current({"scale": RECORD}, now)


def test_a_contract_may_say_more_than_it_did() -> None:
    require_current({"scale": RECORD}, {"costs": {"act": 1, "wait": 2}, "gates": {}})


def test_what_is_said_of_monitoring_matters_to_its_own_records_alone() -> None:
    record = replace(RECORD, problem=RECORD.problem | {"monitoring": {"max_age_days": 42}})
    now = dict(RECORD.problem) | {"monitoring": {"max_age_days": 28}}
    require_current({"scale": record, "serving": record}, now)
    for name in ("demo", "monitoring", "year"):
        with pytest.raises(UserError, match=r"\(monitoring\.max_age_days\)"):
            require_current({name: record}, now)


def test_comments_do_not_make_another_contract(tmp_path: Path) -> None:
    path = tmp_path / "problem.yaml"
    path.write_text("a: 1\nb: 2013-01-01\n")
    before = problem_now(path)
    path.write_text("# why\nb: 2013-01-01\na: 1\n")
    assert problem_now(path) == before
    path.write_text("a: 2\nb: 2013-01-01\n")
    assert problem_now(path) != before


def test_each_record_has_its_command() -> None:
    assert command_of("demo") == "make demo"
    assert command_of("study-maps") == "make bench-study"


@pytest.mark.parametrize(
    ("stages", "cached", "expected"),
    [
        (("problem", "data", "model", "serving", "monitoring"), False, ["demo"]),
        (("problem", "data", "model", "serving", "monitoring"), True, []),
        (("serving", "monitoring"), False, []),
    ],
)
def test_a_demo_is_taken_up_unless_it_came_from_the_cache_or_is_not_whole(
    tmp_path: Path, *, stages: tuple[str, ...], cached: bool, expected: list[str]
) -> None:
    sections = {
        "problem": {"digest": PROBLEM.contract.digest},
        "model": {"lineage": {"commit": "abc"}},
        "monitoring": {"periods": []},
        "run": {"seconds": dict.fromkeys(stages, 0.2), "cached": cached},
    }
    results = tmp_path / "results"
    results.mkdir()
    for name, content in sections.items():
        (results / f"{name}.json").write_text(json.dumps(content))
    taken = collect("later", results, tmp_path / "reports" / "bench", tmp_path / "to")
    assert taken == expected
