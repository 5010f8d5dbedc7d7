"""Renders the plan as a page with tables; every number is marked as projected or published."""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from statistics import median
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from fivestage.common.files import write_text
from fivestage.reporting import number_format as fmt
from fivestage.reporting.documents import FOLDER as LIBRARY
from fivestage.reporting.plot_style import AMBER, BLUE, GREEN, LINE, QUIET, RED, chart
from fivestage_distributed.plan.catalog import Model
from fivestage_distributed.plan.published import Comparison, compare, quantile_of_error
from fivestage_distributed.plan.roofline import Layout, Memory, StepTime, memory
from fivestage_distributed.plan.search import (
    GIB,
    HOUR,
    USABLE,
    Job,
    Run,
    SearchResult,
    described,
    expected_goodput,
)

GROUPS = {  # of the parts of a step, in the plot
    "computing": ("matmul", "attention"),
    "memory traffic": ("elementwise", "optimizer"),
    "messages within layers": ("tensor", "context", "experts"),
    "gradients, parameters, stages": ("data", "pipeline"),
    "bubble": ("bubble",),
}
COLOURS = (BLUE, GREEN, AMBER, RED, QUIET)
Scales = Sequence[tuple[int, Run | str]]


def write(
    run: Run, others: Sequence[Run], reasons: Sequence[str], scales: Scales, curve: Sequence[Run], path: Path
) -> Path:
    """Write the page of a plan."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(__file__).parent, LIBRARY]),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    runs = (run, *others)
    plots = {
        "memory": memory_plot(runs), "step": step_plot(runs), "scale": scale_plot(curve),
        "checkpoints": checkpoint_plot(run), "published": published_plot(),
    }  # fmt: skip
    text = environment.get_template("page.html.j2").render(
        run=run, runs=runs, reasons=reasons, facts=facts(run), memory_rows=memory_rows(run),
        layout_rows=layout_rows(runs), scale_rows=scale_rows(run.job, scales),
        trust=trust() + trust_in_experts(run.job.model),
        compared=compare(), fmt=fmt, tokens=tokens, described=described,
        plots={name: Markup(svg) for name, svg in plots.items()},  # noqa: S704
    )  # fmt: skip
    return write_text(path, text)


def facts(run: Run) -> list[tuple[str, str]]:
    """Return the key figures of a plan as names and values."""
    job, layout = run.job, run.candidate.layout
    spare = ""
    if run.spare:
        spare = (
            f", {run.spare:,} stand by: with {job.batch:,} sequences per step, more GPUs would not be faster"
        )
        spare += " (use a larger --batch)"
    low, high = (run.days * (1 + sign * quantile_of_error(0.8)) for sign in (-1, 1))
    utilization = f"{mfu_name(job)} {run.mfu:.1%}"
    range_of_days = f"{fmt.compact(low)} to {fmt.compact(high)}"
    return [
        ("layout", described(layout)),
        ("GPUs at work", f"{layout.gpus:,}{spare}"),
        ("step", f"{run.candidate.step.total:.2f} s for {page_batch(run)} tokens"),
        ("speed", f"{run.candidate.rate:,.0f} tokens/s, {run.tflops:.0f} TFLOP/s per GPU, {utilization}"),
        ("days", f"{fmt.compact(run.days)} ({range_of_days}; whole runs take longer, see below)"),
        (
            "cost",
            f"{dollars(run.cost)}: {fmt.compact(run.gpu_hours)} GPU hours at {job.price:g}",
        ),
        ("energy", f"{fmt.compact(run.megawatt_hours)} MWh at most, without cooling"),
        (
            "failures",
            f"{fmt.compact(run.failures)} expected, one in {fmt.compact(run.hours_between_failures)} hours",
        ),
        ("checkpoints", f"every {duration(run.interval_seconds)}, each {run.checkpoint_seconds:.1f} s"),
        ("goodput", f"{run.goodput:.1%} of the time goes into steps that are not lost"),
    ]


def dollars(cost: float) -> str:
    """Format an amount: 1.68 million USD, or 512 USD."""
    million = 1e6
    return (
        f"{fmt.compact(cost / million)} million USD" if cost >= million / 10 else f"{fmt.compact(cost)} USD"
    )


def duration(seconds: float) -> str:
    """Format a duration: 27 min 33 s, or 14.5 hours."""
    return fmt.seconds(seconds) if seconds < 2 * HOUR else f"{fmt.compact(seconds / HOUR)} hours"


def page_batch(run: Run) -> str:
    """Format the tokens per step."""
    return tokens(run.candidate.rate * run.candidate.step.total)


def title(job: Job) -> str:
    """Return the title of a plan."""
    return f"{tokens(job.tokens)} tokens of {job.model.name} on {job.gpus:,} {job.accelerator.name}"


def tokens(count: float) -> str:
    """Format a number of tokens, such as 2T."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.0f}"


def memory_rows(run: Run) -> list[tuple[str, ...]]:
    """Return table rows of the best layout's memory by part, without and with recomputation."""
    parts = [part.name for part in fields(Memory)]
    rows: list[tuple[str, ...]] = [("", *parts, "total")]
    for name in ("none", "full"):
        layout = replace(run.candidate.layout, recompute=name)
        needed = memory(run.job.model, layout, run.job.sequence, run.candidate.microbatches, run.job.stack)
        words = "layers recomputed" if name == "full" else "nothing recomputed"
        rows.append(
            (words, *(f"{getattr(needed, part) / GIB:.1f}" for part in parts), f"{needed.total / GIB:.1f}")
        )
    return rows


def mfu_name(job: Job) -> str:
    """Return the label of MFU, which is relative to the BF16 peak even in FP8."""
    return "MFU of the BF16 peak" if job.stack.fp8 else "MFU"


def layout_rows(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """Return table rows of layouts with their memory, speed and cost."""
    rows: list[tuple[str, ...]] = [
        ("layout", "GPUs", "GiB", "step, s", mfu_name(runs[0].job), "days", "million USD")
    ]
    for run in runs:
        one = run.candidate
        rows.append((
            described(one.layout), f"{one.layout.gpus:,}", f"{one.memory.total / GIB:.0f}",
            f"{one.step.total:.2f}", f"{run.mfu:.1%}", fmt.compact(run.days), fmt.compact(run.cost / 1e6),
        ))  # fmt: skip
    return rows


def scale_rows(job: Job, scales: Scales) -> list[tuple[str, ...]]:
    """Return table rows of a job at several numbers of GPUs."""
    rows: list[tuple[str, ...]] = [
        ("GPUs", "layout", mfu_name(job), "days", "million USD", "hours between failures", "goodput")
    ]
    for gpus, run in scales:
        if isinstance(run, str):
            rows.append((f"{gpus:,}", run, *[fmt.NONE] * 5))
            continue
        idle = f" ({run.spare:,} stand by)" if run.spare else ""
        rows.append((
            f"{gpus:,}", described(run.candidate.layout) + idle, f"{run.mfu:.1%}", fmt.compact(run.days),
            fmt.compact(run.cost / 1e6), fmt.compact(run.hours_between_failures), f"{run.goodput:.1%}",
        ))  # fmt: skip
    return rows


def reasons(result: SearchResult) -> list[str]:
    """Return sentences on how much slower the layout would be with one of its parts changed."""
    best = result.fitting[0]
    sentences = []
    for name, title in (
        ("tp", "tensor parallel"), ("pp", "pipeline stages"), ("cp", "context parallel"),
        ("ep", "expert parallel"), ("zero", "ZeRO stage"), ("recompute", "recomputation"),
    ):  # fmt: skip
        chosen = getattr(best.layout, name)
        layouts = [one.layout for one in result.fitting] + [one for one, _ in result.too_large]
        sentences += [
            _reason(result, f"{title} {value} instead of {chosen}", _having(name, value))
            for value in _nearest({getattr(layout, name) for layout in layouts}, chosen)
        ]
    return sentences


def _having(name: str, value: object) -> Callable[[Layout], bool]:
    return lambda layout: getattr(layout, name) == value


def _nearest(values: set[Any], chosen: Any) -> list[Any]:
    """Return the values next to the chosen one."""
    ordered = sorted(values)
    place = ordered.index(chosen)
    return ordered[max(0, place - 1) : place] + ordered[place + 1 : place + 2]


def _reason(result: SearchResult, words: str, having: Callable[[Layout], bool]) -> str:
    best = result.fitting[0]
    other = next((one for one in result.fitting if having(one.layout)), None)
    if other is None:
        least = min((needed.total for layout, needed in result.too_large if having(layout)), default=math.inf)
        return f"{words}: does not fit, as it needs at least {least / GIB:,.0f} GiB."
    slower = best.kept / other.kept - 1 if other.kept else math.inf
    tokens = best.rate * best.step.total, other.rate * other.step.total
    increase = {
        part.name: getattr(other.step, part.name) / tokens[1] - getattr(best.step, part.name) / tokens[0]
        for part in fields(StepTime)
    }
    part = PARTS[max(increase, key=lambda name: increase[name])]
    if other.layout.recompute != best.layout.recompute and other.layout.recompute == "full":
        part = "recomputed layers"
    if other.layout.gpus < best.layout.gpus:
        part = f"{best.layout.gpus - other.layout.gpus:,} more GPUs standing by"
    return f"{words}: {slower:.1%} slower ({described(other.layout)}), mostly due to {part}."


PARTS = {
    "matmul": "matrix multiplications",
    "attention": "attention",
    "elementwise": "element-wise kernels",
    "tensor": "tensor parallel messages",
    "context": "context parallel messages",
    "experts": "messages to experts",
    "pipeline": "messages between stages",
    "bubble": "the pipeline's bubble",
    "data": "gradients and gathered parameters",
    "optimizer": "the optimizer",
}


def trust() -> str:
    """Describe how far predictions are from published runs."""
    speeds = [one for one in compare() if not one.run.whole]
    fitted, later = ([one for one in speeds if one.run.held_out == held] for held in (False, True))
    hours = sorted(1 + one.error for one in compare() if one.run.whole)
    return (
        f"Predictions are compared with {len(fitted)} published speeds of {_sources(fitted)} sources; for "
        f"each source, the constant is fitted without it. Half of the sources are within "
        f"{quantile_of_error(0.5):.0%}, four of five within {quantile_of_error(0.8):.0%}; "
        f"{_median_and_worst(fitted)}. {len(later)} speeds of {_sources(later)} sources were collected later "
        f"and never used for fitting: {_median_and_worst(later)}. A whole run takes longer than its steps: "
        f"{len(hours)} published runs took {hours[0]:.1f} to {hours[-1]:.1f} times the predicted hours, with "
        f"a median of {median(hours):.1f}."
    )


def trust_in_experts(model: Model) -> str:
    """Describe how far predictions for mixtures of experts are from published speeds, if the model is one."""
    if model.experts is None:
        return ""
    ratios = [1 + one.error for one in compare() if one.run.model.experts and not one.run.whole]
    return (
        f" {model.name} is a mixture of experts: {len(ratios)} published speeds of such models are "
        f"{1 / max(ratios):.0%} to {1 / min(ratios):.0%} of the predicted ones. Models with many small "
        "experts are the slowest, as the prediction ignores routing and the time to launch kernels."
    )


def _sources(comparisons: Sequence[Comparison]) -> int:
    return len({one.run.name for one in comparisons})


def _median_and_worst(comparisons: Sequence[Comparison]) -> str:
    typical = median(abs(one.error) for one in comparisons)
    worst = max(comparisons, key=lambda one: abs(one.error))
    return (
        f"the median error is {typical:.0%}, the largest {abs(worst.error):.0%} "
        f"({worst.run.name}, {worst.run.model.name})"
    )


def _bars(figure: Figure, names: Sequence[str], parts: dict[str, list[float]], label: str) -> None:
    axes = figure.subplots()
    left = [0.0] * len(names)
    for (part, values), colour in zip(parts.items(), COLOURS, strict=True):
        axes.barh(range(len(names)), values, left=left, color=colour, label=part, height=0.62)
        left = [before + value for before, value in zip(left, values, strict=True)]
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(label)
    figure.legend(loc="outside upper left", ncols=len(parts), handlelength=1)


def _names(runs: Sequence[Run]) -> list[str]:
    return [
        " ".join(f"{name}{getattr(run.candidate.layout, name)}" for name in ("dp", "tp", "pp", "cp", "zero"))
        for run in runs
    ]


@chart(9)
def memory_plot(figure: Figure, runs: Sequence[Run]) -> None:
    """Plot the memory of the fullest GPU by part, for the fastest layouts."""
    figure.set_figheight(0.5 + 0.42 * len(runs) + 0.6)
    parts = {
        part.name: [getattr(run.candidate.memory, part.name) / GIB for run in runs] for part in fields(Memory)
    }
    _bars(figure, _names(runs), parts, "GiB; the line is the usable memory")
    figure.axes[0].axvline(USABLE * runs[0].job.accelerator.memory_gib, color=QUIET, linestyle="--")


@chart(9)
def step_plot(figure: Figure, runs: Sequence[Run]) -> None:
    """Plot the seconds of a step by part, for the fastest layouts."""
    figure.set_figheight(0.5 + 0.42 * len(runs) + 0.6)
    parts = {
        group: [sum(getattr(run.candidate.step, name) for name in names) for run in runs]
        for group, names in GROUPS.items()
    }
    _bars(figure, _names(runs), parts, "seconds per step")


@chart(9, 2.8)
def scale_plot(figure: Figure, curve: Sequence[Run]) -> None:
    """Plot days and cost of the run over the number of GPUs."""
    days, cost = figure.subplots(1, 2)
    gpus = [run.job.gpus for run in curve]
    for axes, values, title in (
        (days, [run.days for run in curve], "days"),
        (cost, [run.cost / 1e6 for run in curve], "million USD"),
    ):
        axes.plot(gpus, values, marker="o", color=BLUE)
        for count, value in list(zip(gpus, values, strict=True))[::2]:
            axes.annotate(f"{value:,.3g}", (count, value), xytext=(3, 6), textcoords="offset points")
        axes.set_xscale("log", base=2)
        axes.set_xticks(gpus[::2], [f"{count:,}" for count in gpus[::2]])
        axes.margins(x=0.1, y=0.2)
        axes.set_title(title)
        axes.set_xlabel("GPUs")
    days.set_yscale("log")
    cost.set_ylim(bottom=0)


@chart(9, 2.4)
def checkpoint_plot(figure: Figure, run: Run) -> None:
    """Plot goodput over the interval between checkpoints; the dot marks the plan."""
    axes = figure.subplots()
    between, restart = run.hours_between_failures * HOUR, run.job.restart_seconds
    intervals = [run.interval_seconds * 2 ** (step / 4) for step in range(-16, 17)]
    shares = [100 * expected_goodput(one, run.checkpoint_seconds, restart, between) for one in intervals]
    axes.plot([one / 60 for one in intervals], shares, color=BLUE)
    axes.plot(run.interval_seconds / 60, 100 * run.goodput, "o", color=RED)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_xlabel("minutes between checkpoints")
    axes.set_ylabel("goodput, %")


@chart(9, 6.2)
def published_plot(figure: Figure) -> None:
    """Plot the error of predicted speeds by source; grey is within 20%."""
    axes = figure.subplots()
    by_source: dict[str, list[Comparison]] = {}
    for one in compare():
        by_source.setdefault(one.run.name, []).append(one)
    ordered = sorted(by_source.items(), key=lambda item: median(one.error for one in item[1]))
    axes.axvspan(-20, 20, color=LINE, alpha=0.4, linewidth=0)
    axes.axvline(0, color=QUIET, linewidth=0.8)
    for place, (_, runs) in enumerate(ordered):
        axes.plot([100 * one.error for one in runs], [place] * len(runs), "o", color=BLUE, alpha=0.6)
    axes.set_yticks(range(len(ordered)), [name for name, _ in ordered])
    axes.set_xlabel("predicted faster than published, %")
