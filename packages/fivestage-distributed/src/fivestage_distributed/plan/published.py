"""Compares the published runs of published.yaml with the planner's predictions."""

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
LOWEST, HIGHEST, HALVINGS = 0.1, 2.0, 30  # range and steps of the search for the constant


@dataclass(frozen=True)
class Run:
    """One row of published.yaml."""

    name: str  # name of the source
    source: str  # where it is published
    model: Model  # the model that was trained
    accelerator: Accelerator  # the accelerator it was trained on
    layouts: tuple[Layout, ...]  # the layout, or all candidates if the source does not say
    sequence: int  # tokens per sequence
    batch: int  # sequences per step
    stack: Stack  # the training software
    unit: str  # unit of the value
    value: float  # the published value
    tokens: float  # tokens of the whole run, for its hours
    held_out: bool  # whether the run is excluded from the fit

    @property
    def whole(self) -> bool:
        """Whether the value is the hours of a whole run, which takes longer than its steps."""
        return self.unit == "gpu_hours"

    def predicted(self, kernel_share: float = KERNEL_SHARE) -> float:
        """Return the prediction in the unit of the published value."""
        return self._in_unit(*min(self._seconds(layout, kernel_share) for layout in self.layouts))

    def error(self, kernel_share: float = KERNEL_SHARE) -> float:
        """Return the relative error of the predicted speed; -0.1 means predicted 10% too slow."""
        ratio = self.predicted(kernel_share) / self.value
        return (1 / ratio if self.unit in {"seconds", "gpu_hours"} else ratio) - 1

    def fitted(self) -> float:
        """Return the constant for which the prediction is exact."""
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
    """A published run and its prediction, with the constant fitted to all other sources."""

    run: Run  # the published run
    kernel_share: float  # the constant, fitted without the run's source
    predicted: float  # the prediction
    error: float  # relative error of the predicted speed


@cache
def published_runs() -> tuple[Run, ...]:
    """Load the rows of published.yaml."""
    content = read_yaml(PUBLISHED)
    return tuple(
        run
        for kind in ("sources", "held_out")
        for source in content[kind]
        for run in _runs(source, held_out=kind == "held_out")
    )


@cache
def compare() -> tuple[Comparison, ...]:
    """Compare every published run with its prediction, leaving its own source out of the fit."""
    shares = fitted_shares()
    comparisons = []
    for run in published_runs():
        share = median(value for name, value in shares.items() if name != run.name)
        comparisons.append(Comparison(run, share, run.predicted(share), run.error(share)))
    return tuple(comparisons)


@cache
def fitted_shares() -> dict[str, float]:
    """Return the constant fitted to each source of step times: the median of its runs."""
    runs = [run for run in published_runs() if not run.whole and not run.held_out]
    return {
        name: median(run.fitted() for run in runs if run.name == name)
        for name in dict.fromkeys(run.name for run in runs)
    }


def fitted_share() -> float:
    """Return the constant fitted to all sources, each counted once."""
    return median(fitted_shares().values())


def quantile_of_error(share: float) -> float:
    """Return a quantile of the sources' median relative errors, over the sources of step times."""
    errors = [one for one in compare() if one.run.name in fitted_shares()]
    by_source = sorted(
        median(abs(one.error) for one in errors if one.run.name == name)
        for name in {one.run.name for one in errors}
    )
    return by_source[min(len(by_source) - 1, math.ceil(share * len(by_source)) - 1)]


def _runs(source: dict[str, Any], *, held_out: bool = False) -> Iterator[Run]:
    for values in source["rows"]:
        row = {**source, **source["layout"], **values}
        model, accelerator = find_model(row["model"]), find_accelerator(row["accelerator"])
        accelerator = replace(accelerator, **{name: row[name] for name in OF_THE_MACHINE if name in row})
        stack = Stack(**source["stack"])
        layouts = list(_layouts(model, accelerator, stack, row))
        yield Run(
            name=source["name"],
            source=source["source"],
            model=model,
            accelerator=accelerator,
            layouts=tuple(layouts),
            sequence=row["sequence"],
            batch=row["batch"],
            stack=stack,
            unit=source["unit"],
            value=row["value"],
            tokens=row.get("tokens", 0),
            held_out=held_out,
        )


def _layouts(model: Model, accelerator: Accelerator, stack: Stack, row: dict[str, Any]) -> Iterator[Layout]:
    """Yield the layouts that match a row and fit the memory, or all that match if none fits."""
    layout = Layout(**{name: row[name] for name in OF_THE_LAYOUT if name in row})
    dp = row["gpus"] // (layout.tp * layout.pp * layout.cp)
    stage = math.ceil(model.layers / layout.pp)
    chunks = [layout.chunks] if "chunks" in row or layout.pp == 1 else range(1, stage + 1)
    candidates = []
    for microbatch in [row["microbatch"]] if "microbatch" in row else MICROBATCHES:
        for count in chunks:
            one = replace(layout, dp=dp, microbatch=microbatch, chunks=count)
            microbatches = row["batch"] / (dp * microbatch)
            if microbatches == int(microbatches) and stage % count == 0:
                candidates.append(
                    (
                        fits(
                            memory(model, one, row["sequence"], int(microbatches), stack),
                            accelerator,
                            usable=1,
                        ),
                        one,
                    )
                )
    yield from [one for fit, one in candidates if fit] or [one for _, one in candidates]
