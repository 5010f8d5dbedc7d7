"""What runs have measured, as the book cites it: one JSON file a run in docs/measured."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fivestage.common.errors import UserError
from fivestage.common.files import write_text
from fivestage.common.settings import REPORTS, RESULTS, ROOT
from fivestage.common.strict_yaml import read_yaml
from fivestage.reporting.results import Results
from fivestage.reporting.sentences import STAGES
from problem import PROBLEM

FOLDER = ROOT / "docs" / "measured"
CONTRACT = ROOT / "problem" / "problem.yaml"
DEMO = "demo"  # the name of the record that `make demo` leaves
SPEED = "speed"  # of what `make bench-demo` measures, which leaves bench/demo.json
BACKTEST = "year"
DEMONSTRATION = "distributed"  # the name of the record that `make demo-distributed` leaves
TRANSFORMER, GPU = f"{DEMONSTRATION}-transformer", f"{DEMONSTRATION}-gpu"
COMMANDS = {
    SPEED: "make bench-demo",
    DEMO: "make demo",
    "chaos": "make chaos",
    DEMONSTRATION: "make demo-distributed",
    TRANSFORMER: "make transformer",
    GPU: "make bench-gpu",
    BACKTEST: "make backtest",
}  # of the others: make bench-NAME
OF_MONITORING = (
    DEMO,
    SPEED,
    "monitoring",
    BACKTEST,
    "study-tolerance",
)  # what the contract says of monitoring matters to these alone


@dataclass(frozen=True)
class Record:
    """What a run found, and when, where and for which contract."""

    on: date
    commit: str
    machine: str
    problem: dict[str, Any]  # what problem.yaml said
    found: Any


def command_of(name: str) -> str:
    """What a person types to measure again."""
    return COMMANDS.get(name, f"make bench-{name.partition('-')[0]}")


def problem_now(path: Path = CONTRACT) -> dict[str, Any]:
    """What problem.yaml says, as JSON knows it; comments do not count."""
    return dict(json.loads(json.dumps(read_yaml(path), sort_keys=True, default=str)))


def machine() -> str:
    """The machine in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"
    )


def collect(
    commit: str, results: Path = RESULTS, bench: Path = REPORTS / "bench", to: Path = FOLDER
) -> list[str]:
    """Take up what runs have left on this machine; names of the records that are new."""
    found: dict[str, tuple[Path, Any]] = {}
    for path in sorted([*bench.glob("*.json"), *bench.parent.glob("*.json")]):
        name = SPEED if path.stem == DEMO else path.stem
        found[name] = path, json.loads(path.read_bytes())
    if (policies := results / "policies.json").exists():
        found[BACKTEST] = policies, _policies(policies)
    for path in sorted((bench.parent / DEMONSTRATION).glob("*.json")):
        name = DEMONSTRATION if path.stem == "measured" else f"{DEMONSTRATION}-{path.stem}"
        found[name] = path, json.loads(path.read_bytes())
    if is_current_demo(results):
        found[DEMO] = results / "monitoring.json", _demo(results)
    known, fresh = records(to), []
    for name, (path, content) in found.items():
        if name in known and known[name].found == content:
            continue
        day = datetime.fromtimestamp(path.stat().st_mtime, UTC).date()
        written = content["model"]["lineage"]["commit"] if name == DEMO else commit
        problem = {} if name in (DEMONSTRATION, GPU) else problem_now()  # of sequences of their own
        write(name, Record(day, written, machine(), problem, content), to)
        fresh.append(name)
    return fresh


def write(name: str, record: Record, to: Path = FOLDER) -> Path:
    """Keep a record."""
    fields = TypeAdapter(Record).dump_python(record, mode="json")
    problem = json.dumps(fields.pop("problem"))  # on one line: nobody reads it
    text = json.dumps({"problem": None} | fields, indent=1).replace("null", problem, 1) + "\n"
    return write_text(to / f"{name}.json", text)


def records(folder: Path = FOLDER) -> dict[str, Record]:
    """All records, by name.

    Raises:
        UserError: naming a file that is none.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.stem] = TypeAdapter(Record).validate_python(json.loads(path.read_bytes()))
        except (ValueError, ValidationError) as error:
            raise UserError(f"{path} is no record of a run: delete it and run `make docs`.") from error
    return found


def require_current(found: Mapping[str, Record], problem: Mapping[str, Any]) -> None:
    """Make sure that what problem.yaml said when things were measured, it still says; it may say more.

    Raises:
        UserError: naming what was measured otherwise.
    """
    stale = {
        name: where
        for name, record in found.items()
        if (where := changed(_relevant(record.problem, name), _relevant(problem, name)))
    }
    if stale:
        again = ", ".join(dict.fromkeys(f"`{command_of(name)}`" for name in sorted(stale)))
        places = ", ".join(sorted(set(stale.values())))
        raise UserError(
            f"problem.yaml has changed since docs/measured was written ({places}): "
            f"run {again}, then `make docs`."
        )


def _relevant(problem: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What of the contract the record of this name depends on."""
    return {
        part: content for part, content in problem.items() if part != "monitoring" or name in OF_MONITORING
    }


def changed(then: Any, now: Any, where: str = "") -> str:
    """Where a value of then is another one now, or gone; empty when all still hold."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for name, value in then.items():
            if found := changed(value, now.get(name), f"{where}.{name}".lstrip(".")):
                return found
        return ""
    return "" if then == now else where


def results_of(record: Record) -> Results:
    """The stages' results in the demo's record.

    Raises:
        UserError: when another version of the project wrote them.
    """
    try:
        return TypeAdapter(Results).validate_python(record.found)
    except ValidationError as error:
        raise UserError(
            f"docs/measured/{DEMO}.json is of another version: run `{COMMANDS[DEMO]}`, then `make docs`."
        ) from error


def is_current_demo(results: Path = RESULTS) -> bool:
    """Whether a whole demo of the contract as it stands has left its results.

    Not one from the cache, nor a replay of its last stages.
    """
    paths = [results / f"{name}.json" for name in ("problem", "run", "monitoring")]
    if not all(path.exists() for path in paths):
        return False
    problem, run, _ = (json.loads(path.read_bytes()) for path in paths)
    whole = {stage.name for stage in STAGES} <= run["seconds"].keys()
    return bool(problem["digest"] == PROBLEM.contract.digest and whole and not run["cached"])


def _demo(results: Path) -> dict[str, Any]:
    """The stages' results; of the drift, what passed its limit, and no numbers that only plots show."""
    found = {path.stem: json.loads(path.read_bytes()) for path in sorted(results.glob("*.json"))}
    for period in found["monitoring"]["periods"]:
        period["drift"] = [one for one in period["drift"] if one["score"] > one["limit"]]
        period["slices"] = []  # for the page
        for cause in period["causes"]:
            cause["usual"] = cause["now"] = []  # for a plot
    if (policies := results / "policies.json").exists():
        found["policies"] = _policies(policies)
    return found


def _policies(path: Path) -> dict[str, Any]:
    """A backtest, without the numbers that only plots show."""
    found: dict[str, Any] = json.loads(path.read_bytes())
    for policy in found["years"]:
        policy["by_day"] = []
    return found
