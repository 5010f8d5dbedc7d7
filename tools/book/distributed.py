"""Sentences for the pages on distributed training: measurements, and the planner's projections."""

import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from statistics import linear_regression
from types import ModuleType
from typing import Any

from fivestage.common.settings import ROOT
from tools.book.measured import DEMONSTRATION, command_of

PACKAGE = ROOT / "packages" / "fivestage-distributed"


def of_equality(found: Any) -> list[str]:
    """Describe losses and memory of the layouts, compared with one process."""
    compared, whole = found["compared"], sum(found["whole"].values())
    processes, error = (max(one[name] for one in compared) for name in ("processes", "error"))
    least = min(compared, key=_fullest)
    losses = (
        f"{len(compared)} layouts of 2 to {processes} processes: the largest relative error of any loss over "
        f"{len(found['losses'])} steps is {error:.1e}; without gradient synchronisation it is "
        f"{found['control']:.1e}."
    )
    held = (
        f"A single process holds {whole:,} bytes of parameters, gradients and optimizer state; in the layout "
        f"“{least['layout']}”, no process holds more than {_fullest(least):,}."
    )
    return [losses, held]


def of_ring(found: Any) -> list[str]:
    """Describe the ring all-reduce and its cost model."""
    largest, fit = found["ring"][-1], found["fit"]
    sent = f"Each process sends {largest['sent'] / largest['size']:g} times the size of the message."
    cost = (
        f"With gloo on one machine, a send has a latency of {fit['alpha'] * 1e6:.0f} microseconds and a "
        f"bandwidth of {fit['bandwidth'] / 1e9:.2f} GB/s; the median error of this model is "
        f"{fit['error']:.0%}."
    )
    return [sent, cost]


def of_bubble(found: Any) -> list[str]:
    """Describe each schedule's bubble, from a line through the step times."""
    sentences = []
    for one in found["bubbles"]:
        counts, processes = list(map(int, one["seconds"])), one["processes"]
        line = linear_regression(counts, list(one["seconds"].values()))
        sentences.append(
            f"{one['schedule']} with {processes} processes: the bubble is {line.intercept / line.slope:.2f} "
            f"microbatches, and {(processes - 1) / one['chunks']:.2f} by the formula."
        )
    return sentences


def of_faults(found: Any) -> list[str]:
    """Describe the trainings that were killed."""
    return [
        f"A {one['what']} was killed at step {one['at']}. Training restarted automatically from step "
        f"{one['resumed']} after {one['seconds']:.0f} s; the largest relative error of any loss is "
        f"{one['error']:.1e}."
        for one in found["killed"]
    ]


def of_goodput(found: Any) -> list[str]:
    """Describe the lost time, compared with the model."""
    return [
        f"With one {one['what']} killed, the goodput was {one['goodput']:.1%}, against "
        f"{one['modelled']:.1%} by the model; a checkpoint blocked training for "
        f"{1000 * one['checkpoint']:.0f} ms."
        for one in found["killed"]
    ]


SENTENCES: dict[str, Callable[[Any], list[str]]] = {
    "equality": of_equality,
    "ring": of_ring,
    "bubble": of_bubble,
    "faults": of_faults,
    "goodput": of_goodput,
}  # of the demonstration's record; other parts have a record of their own, with its sentences


def training(records: Any, part: str) -> list[str]:
    """Return sentences about a measurement of distributed training, or that it is missing.

    Args:
        records: all records, by name.
        part: a key of `SENTENCES`, or the rest of a record's name after `distributed-`.
    """
    name = DEMONSTRATION if part in SENTENCES else f"{DEMONSTRATION}-{part}"
    if part == "gpu" and name not in records:
        return [f"Not measured, because no GPU was available: `{command_of(name)}` measures it."]
    if name not in records:
        return [f"Not measured yet: `{command_of(name)}` measures it."]
    return SENTENCES[part](records[name]) if part in SENTENCES else list(records[name]["sentences"])


def _fullest(compared: Any) -> int:
    return int(max(sum(one.values()) for one in compared["held"]))


@cache
def planned(gpus: int, *arguments: str) -> Any:
    """Return the run that `make plan` projects for 70B parameters and 2T tokens, or with other arguments."""
    plan, search = _plan("__main__"), _plan("search")
    job = plan.job_of(plan.options("--gpus", str(gpus), *arguments))
    found = search.require_fitting(job, search.search(job))
    return search.whole_run(job, found.fitting[0])


@cache
def least(*arguments: str) -> int:
    """Return the least number of GPUs that hold a model."""
    plan = _plan("__main__")
    return int(_plan("search").least_gpus(plan.job_of(plan.options(*arguments))))


def planner() -> dict[str, Any]:
    """Return the planner's functions for templates."""
    return {
        "planned": planned,
        "least": least,
        "described": _plan("search").described,
        "goodput": _plan("search").expected_goodput,
        "states": _plan("roofline").model_states,
        "bubble": _plan("roofline").bubble_share,
        "trust": _plan("page").trust,
        "compared": _plan("published").compare,
        "failures": _plan("catalog").catalog()["failures"]["llama-3"],
    }


def _plan(name: str) -> ModuleType:
    """Import a module of the planner."""
    return _module(f"plan.{name}")


def _module(name: str) -> ModuleType:
    """Import a module of the package, which is not installed here; the module must not need torch."""
    if str(PACKAGE / "src") not in sys.path:
        sys.path.append(str(PACKAGE / "src"))
    return import_module(f"fivestage_distributed.{name}")
