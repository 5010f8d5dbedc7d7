"""Published runs beside what the planner predicts for them: published.yaml."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from fivestage.common.strict_yaml import read_yaml
from fivestage_distributed.plan.catalog import Accelerator, Model, find_accelerator, find_model, mfu
from fivestage_distributed.plan.roofline import KERNEL_SHARE, Layout, Stack, memory, step_time
from fivestage_distributed.plan.search import fits

PUBLISHED = Path(__file__).with_name("published.yaml")
OF_THE_LAYOUT = ("tp", "pp", "cp", "ep", "zero", "microbatch", "chunks", "recompute")
OF_THE_MACHINE = ("network_gbps", "memory_gbps", "memory_gib")
MICROBATCHES = (1, 2, 4, 8, 16)
LOWEST, HIGHEST, HALVINGS = 0.1, 2.0, 30  # of the constant, where it is searched


@dataclass(frozen=True)
class Run:
    """One row of published.yaml.

    Attributes:
        name: Of its source.
        source: Where it is published.
        model: What was trained.
        accelerator: On what.
        layouts: The layout, or those it may have been.
        sequence: Tokens of a sequence.
        batch: Sequences of a step.
        stack: The software.
        unit: Of the value.
        value: What was published.
        tokens: Of the whole run, for its hours.
        held_out: Nothing is fitted to it.
    """

    name: str
    source: str
    model: Model
    accelerator: Accelerator
    layouts: tuple[Layout, ...]
    sequence: int
    batch: int
    stack: Stack
    unit: str
    value: float
    tokens: float
    held_out: bool

    @property
    def whole(self) -> bool:
        """Whether it is the hours of a whole run, in which there is more than steps."""
        return self.unit == "gpu_hours"

    def predicted(self, kernel_share: float = KERNEL_SHARE) -> float:
        """Return the prediction in the unit of what was published."""
        return self._in_unit(*min(self._seconds(layout, kernel_share) for layout in self.layouts))

    def error(self, kernel_share: float = KERNEL_SHARE) -> float:
        """Return by how much faster than published the prediction is; -0.1 is 10% too slow."""
        ratio = self.predicted(kernel_share) / self.value
        return (1 / ratio if self.unit in {"seconds", "gpu_hours"} else ratio) - 1

    def fitted(self) -> float:
        """Return the constant with which the prediction would be exact."""
        low, high = LOWEST, HIGHEST
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.error(middle) < 0 else (low, middle)
        return low

    def _seconds(self, layout: Layout, kernel_share: float) -> tuple[float, int]:
        microbatches = self.batch // (layout.dp * layout.microbatch)
        arguments = self.model, self.accelerator, layout, self.sequence, microbatches, self.stack
        return step_time(*arguments, kernel_share=kernel_share).total, layout.gpus

    def _in_unit(self, seconds: float, gpus: int) -> float:
        rate = self.batch * self.sequence / seconds / gpus  # tokens
        flops = self.model.flops_per_token(
            self.sequence, recomputed=self.unit == "tflops_recomputed", causal=self.unit == "tflops_causal"
        )
        tflops = rate * flops / 1e12
        match self.unit:
            case "seconds":
                return seconds
            case "tokens":
                return rate
            case "gpu_hours":
                return self.tokens / rate / 3600
            case "mfu":
                return 100 * mfu(tflops, self.accelerator)
            case _:
                return tflops


@dataclass(frozen=True)
class Comparison:
    """A run beside its prediction by the constant that all other sources give.

    Attributes:
        run: What was published.
        kernel_share: The constant, fitted without the run's source.
        predicted: The prediction.
        error: By how much it is too fast.
    """

    run: Run
    kernel_share: float
    predicted: float
    error: float


@cache
def published_runs() -> tuple[Run, ...]:
    """The rows of published.yaml."""
    found = read_yaml(PUBLISHED)
    return tuple(
        run
        for kind in ("sources", "held_out")
        for source in found[kind]
        for run in _runs(source, held_out=kind == "held_out")
    )


@cache
def compare() -> tuple[Comparison, ...]:
    """Return every published run beside its prediction, its source left out of the fit."""
    shares = fitted_shares()
    found = []
    for run in published_runs():
        share = median(value for name, value in shares.items() if name != run.name)
        found.append(Comparison(run, share, run.predicted(share), run.error(share)))
    return tuple(found)


@cache
def fitted_shares() -> dict[str, float]:
    """Return for each source of step times the constant that its runs give, their median."""
    runs = [run for run in published_runs() if not run.whole and not run.held_out]
    return {
        name: median(run.fitted() for run in runs if run.name == name)
        for name in dict.fromkeys(run.name for run in runs)
    }


def fitted_share() -> float:
    """Return the constant that all sources give, each counted once."""
    return median(fitted_shares().values())


def quantile_of_error(share: float) -> float:
    """Return the relative error that this share of the sources of step times stays below, by median rows."""
    errors = [one for one in compare() if one.run.name in fitted_shares()]
    of_sources = sorted(
        median(abs(one.error) for one in errors if one.run.name == name)
        for name in {one.run.name for one in errors}
    )
    return of_sources[min(len(of_sources) - 1, math.ceil(share * len(of_sources)) - 1)]


def _runs(source: dict[str, Any], *, held_out: bool = False) -> Iterator[Run]:
    for row in source["rows"]:
        said = {**source, **source["layout"], **row}
        model, accelerator = find_model(said["model"]), find_accelerator(said["accelerator"])
        accelerator = replace(accelerator, **{name: said[name] for name in OF_THE_MACHINE if name in said})
        stack = Stack(**source["stack"])
        layouts = list(_layouts(model, accelerator, stack, said))
        yield Run(
            name=source["name"],
            source=source["source"],
            model=model,
            accelerator=accelerator,
            layouts=tuple(layouts),
            sequence=said["sequence"],
            batch=said["batch"],
            stack=stack,
            unit=source["unit"],
            value=said["value"],
            tokens=said.get("tokens", 0),
            held_out=held_out,
        )


def _layouts(model: Model, accelerator: Accelerator, stack: Stack, said: dict[str, Any]) -> Iterator[Layout]:
    """The layouts that a row may mean: all that it says, and what of the rest fits the memory."""
    layout = Layout(**{name: said[name] for name in OF_THE_LAYOUT if name in said})
    dp = said["gpus"] // (layout.tp * layout.pp * layout.cp)
    stage = math.ceil(model.layers / layout.pp)
    chunks = [layout.chunks] if "chunks" in said or layout.pp == 1 else range(1, stage + 1)
    found = []
    for microbatch in [said["microbatch"]] if "microbatch" in said else MICROBATCHES:
        for count in chunks:
            one = replace(layout, dp=dp, microbatch=microbatch, chunks=count)
            microbatches = said["batch"] / (dp * microbatch)
            if microbatches == int(microbatches) and stage % count == 0:
                found.append(
                    (
                        fits(
                            memory(model, one, said["sequence"], int(microbatches), stack),
                            accelerator,
                            usable=1,
                        ),
                        one,
                    )
                )
    yield from [one for fit, one in found if fit] or [one for _, one in found]
