"""The measurements that the book cites: one JSON file per run in docs/measured."""

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
DEMO = "demo"  # record of `make demo`
SPEED = "speed"  # record of `make bench-demo`, which writes bench/demo.json
BACKTEST = "year"
DEMONSTRATION = "distributed"  # record of `make demo-distributed`
TRANSFORMER, GPU = f"{DEMONSTRATION}-transformer", f"{DEMONSTRATION}-gpu"
COMMANDS = {  # for other records: make bench-NAME
    SPEED: "make bench-demo",
    DEMO: "make demo",
    "chaos": "make chaos",
    DEMONSTRATION: "make demo-distributed",
    TRANSFORMER: "make transformer",
    GPU: "make bench-gpu",
    BACKTEST: "make backtest",
}
# Records that depend on the contract's monitoring.
OF_MONITORING = (DEMO, SPEED, "monitoring", BACKTEST, "study-tolerance")


@dataclass(frozen=True)
class Record:
    """A measurement, with its date, commit, machine and contract."""

    on: date
    commit: str
    machine: str
    problem: dict[str, Any]  # the content of problem.yaml
    found: Any


def command_of(name: str) -> str:
    """Return the command that repeats a measurement."""
    return COMMANDS.get(name, f"make bench-{name.partition('-')[0]}")


def problem_now(path: Path = CONTRACT) -> dict[str, Any]:
    """Return the content of problem.yaml as JSON values."""
    return dict(json.loads(json.dumps(read_yaml(path), sort_keys=True, default=str)))


def machine() -> str:
    """Describe this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"
    )


def collect(
    commit: str, results: Path = RESULTS, bench: Path = REPORTS / "bench", to: Path = FOLDER
) -> list[str]:
    """Collect the measurements of runs on this machine; return the names of new records."""
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
    known, new = records(to), []
    for name, (path, content) in found.items():
        if name in known and known[name].found == content:
            continue
        day = datetime.fromtimestamp(path.stat().st_mtime, UTC).date()
        written = content["model"]["lineage"]["commit"] if name == DEMO else commit
        # Two measurements do not use the project's problem.
        problem = {} if name in (DEMONSTRATION, GPU) else problem_now()
        write(name, Record(day, written, machine(), problem, content), to)
        new.append(name)
    return new


def write(name: str, record: Record, to: Path = FOLDER) -> Path:
    """Write a record."""
    fields = TypeAdapter(Record).dump_python(record, mode="json")
    problem = json.dumps(fields.pop("problem"))  # on one line, to keep the file readable
    text = json.dumps({"problem": None} | fields, indent=1).replace("null", problem, 1) + "\n"
    return write_text(to / f"{name}.json", text)


def records(folder: Path = FOLDER) -> dict[str, Record]:
    """Load all records, by name."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.stem] = TypeAdapter(Record).validate_python(json.loads(path.read_bytes()))
        except (ValueError, ValidationError) as error:
            raise UserError(f"{path} is not a record of a run: delete it and run `make docs`.") from error
    return found


def require_current(found: Mapping[str, Record], problem: Mapping[str, Any]) -> None:
    """Raise a UserError that names the measurements to repeat, if problem.yaml has changed since."""
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
    """Return the parts of the contract that a record depends on."""
    return {
        part: content for part, content in problem.items() if part != "monitoring" or name in OF_MONITORING
    }


def changed(before: Any, now: Any, where: str = "") -> str:
    """Return the first path at which a value differs or is missing; empty if none does."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name, value in before.items():
            if found := changed(value, now.get(name), f"{where}.{name}".lstrip(".")):
                return found
        return ""
    return "" if before == now else where


def results_of(record: Record) -> Results:
    """Return the stages' results in the demo's record."""
    try:
        return TypeAdapter(Results).validate_python(record.found)
    except ValidationError as error:
        raise UserError(
            f"docs/measured/{DEMO}.json was written by another version: run `{COMMANDS[DEMO]}`, "
            "then `make docs`."
        ) from error


def is_current_demo(results: Path = RESULTS) -> bool:
    """Return whether the results are from a complete demo run of the current contract.

    Cached runs and runs of the last stages only do not count.
    """
    paths = [results / f"{name}.json" for name in ("problem", "run", "monitoring")]
    if not all(path.exists() for path in paths):
        return False
    problem, run, _ = (json.loads(path.read_bytes()) for path in paths)
    complete = {stage.name for stage in STAGES} <= run["seconds"].keys()
    return bool(problem["digest"] == PROBLEM.contract.digest and complete and not run["cached"])


def _demo(results: Path) -> dict[str, Any]:
    """Return the stages' results; of the drift, only exceeded limits, and without numbers for plots."""
    found = {path.stem: json.loads(path.read_bytes()) for path in sorted(results.glob("*.json"))}
    for period in found["monitoring"]["periods"]:
        period["drift"] = [one for one in period["drift"] if one["score"] > one["limit"]]
        period["slices"] = []  # only for the page
        for cause in period["causes"]:
            cause["usual"] = cause["now"] = []  # only for a plot
    if (policies := results / "policies.json").exists():
        found["policies"] = _policies(policies)
    return found


def _policies(path: Path) -> dict[str, Any]:
    """Return a backtest without numbers for plots."""
    found: dict[str, Any] = json.loads(path.read_bytes())
    for policy in found["policies"]:
        policy["by_day"] = []
    return found
