"""What pages on distributed training cite: the planner's projections, and what the package has measured."""

import json
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from fivestage.common.errors import UserError
from fivestage.common.settings import ROOT

PACKAGE = ROOT / "packages" / "fivestage-distributed"
MEASURED = PACKAGE / "measured"
COMMAND = "make demo-distributed"


@dataclass(frozen=True)
class Training:
    """A record that a run of the package has left, if it has.

    Attributes:
        sentences: What it found, each with its number.
        where: The command, day and machine.
    """

    sentences: tuple[str, ...]
    where: str


def training(name: str, folder: Path = MEASURED) -> Training:
    """What a run of the package found; that nobody has measured it, where there is no record.

    Raises:
        UserError: naming a file that is none.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        return Training((f"Not measured yet: `{COMMAND}` does.",), "")
    try:
        record = json.loads(path.read_bytes())
        sentences = tuple(map(str, record["found"]["sentences"]))
        where = f"`{record.get('command', COMMAND)}`, {record['on']}, {record['machine']}"
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no record of a run: delete it and run `{COMMAND}`.") from error
    return Training(sentences, where)


@cache
def planned(gpus: int, *arguments: str) -> Any:
    """The run that `make plan` projects for 70B parameters and 2T tokens, or as more arguments say.

    Raises:
        UserError: when nothing fits.
    """
    plan, search = _plan("__main__"), _plan("search")
    job = plan.job_of(plan.options("--gpus", str(gpus), *arguments))
    found = search.require_fitting(job, search.search(job))
    return search.whole_run(job, found.fitting[0])


@cache
def least(*arguments: str) -> int:
    """The least number of GPUs that hold a model."""
    plan = _plan("__main__")
    return int(_plan("search").least_gpus(plan.job_of(plan.options(*arguments))))


def planner() -> dict[str, Any]:
    """What templates may ask the planner."""
    return {
        "planned": planned,
        "least": least,
        "described": _plan("search").described,
        "goodput": _module("goodput").expected_goodput,
        "states": _plan("roofline").model_states,
        "bubble": _plan("roofline").bubble_share,
        "trust": _plan("page").trust,
        "compared": _plan("published").compare,
        "failures": _plan("catalog").catalog()["failures"]["llama-3"],
    }


def _plan(name: str) -> ModuleType:
    """A module of the planner."""
    return _module(f"plan.{name}")


def _module(name: str) -> ModuleType:
    """A module that needs no torch of the package, which is not installed here."""
    if str(PACKAGE / "src") not in sys.path:
        sys.path.append(str(PACKAGE / "src"))
    return import_module(f"fivestage_distributed.{name}")
