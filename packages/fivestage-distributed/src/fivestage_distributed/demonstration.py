"""`make demo-distributed`: a page on equal losses, ring all-reduce, pipeline bubbles and recovery."""

from __future__ import annotations

import json
import platform
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from fivestage.common.files import write_text
from fivestage.common.settings import REPORTS
from fivestage.reporting.documents import FOLDER as LIBRARY
from fivestage.reporting.plot_style import LINE, MARKERS, SERIES, chart
from fivestage_distributed.bubble import SCHEDULES, Bubble, measure_bubble
from fivestage_distributed.configuration import ParallelConfig, RunConfig, TrainingConfig
from fivestage_distributed.equality import (
    CONTROL,
    LAYOUTS,
    MODEL,
    HeldBytes,
    LayoutComparison,
    compare,
    train_in_one_process,
)
from fivestage_distributed.launch import FINISHED
from fivestage_distributed.plan.search import daly_interval, goodput_of_failures
from fivestage_distributed.processes import LocalNodes, disturbed_difference, free_port, local_nodes
from fivestage_distributed.ring import AlphaBeta, RingTime, fit_alpha_beta, measure_ring
from fivestage_distributed.training import toy_sequences

RECORD, MEASURED = "measured.json", "measured here"
GPU, NOT_MEASURED = "gpu.json", "Not measured: no GPU was available."  # `make bench-gpu` writes the record
PAGE = REPORTS / "distributed" / "index.html"
BATCH, STEPS, EVERY, PAUSE = 16, 60, 10, 0.05  # of the killed training: EVERY in steps, PAUSE in seconds
HOUR = 3_600
RING, PIPELINE = 4, 4  # processes


@dataclass(frozen=True)
class Killed:
    """A training that was killed and recovered by itself."""

    what: str  # what was killed, "worker" or "node"
    at: int  # the step that it had reached
    resumed: int  # the step from which it resumed
    error: float  # largest relative difference of any loss from the undisturbed training
    seconds: float  # seconds from the kill to the next logged step
    goodput: float  # share of the time from first to last step that was not lost
    modelled: float  # goodput by `goodput_of_failures`, with the measured checkpoint and restart times
    checkpoint: float  # mean seconds that a checkpoint blocks the training
    lines: tuple[tuple[float, int], ...]  # seconds since the first step, and step, of each logged loss

    @property
    def interval(self) -> float:
        """Optimal seconds between checkpoints with a failure per hour (Daly 2006)."""
        return daly_interval(self.checkpoint, HOUR)


@dataclass(frozen=True)
class Demonstration:
    """All measurements of the demonstration."""

    whole: HeldBytes
    compared: tuple[LayoutComparison, ...]
    control: float
    ring: tuple[RingTime, ...]
    fit: AlphaBeta
    bubbles: tuple[Bubble, ...]
    killed: tuple[Killed, ...]
    losses: tuple[float, ...]
    seconds: float


def kill(what: str, expected: Sequence[float], seed: int) -> Killed:
    """Train in two processes, kill a worker or a node at a random step, and let the training recover."""
    parallel = ParallelConfig(dp=2, zero=3)
    training = TrainingConfig(steps=STEPS, batch=BATCH, parallel=parallel, checkpoint_every=EVERY, keep=3)
    config, data = RunConfig(model=MODEL, training=training), toy_sequences(MODEL.vocabulary, MODEL.context)
    with tempfile.TemporaryDirectory() as folder:
        count = 2 if what == "node" else 1
        with local_nodes(LocalNodes(Path(folder), count, free_port(), PAUSE), config, data) as nodes:
            nodes.wait_for_step(random.Random(seed).randint(15, 45))  # noqa: S311 (not a secret)
            killed = time.time()
            if what == "node":
                nodes.kill_node(1)
                nodes.start(1)
            else:
                nodes.kill_worker(0)
            nodes.finish()
            lines = nodes.losses()
            blocked = json.loads((nodes.folder / "output" / FINISHED).read_text(encoding="utf-8"))["blocked"]
    cost = float(np.mean(blocked))
    before = max(place for place, line in enumerate(lines) if line["time"] <= killed) + 1
    reached, resumed = round(lines[before - 1]["step"]), round(lines[before]["step"])
    again = next(line["time"] for line in lines if line["time"] > killed)
    intervals = np.diff([line["time"] for line in lines[:before]])
    step = float(np.median(intervals))
    elapsed = lines[-1]["time"] - lines[0]["time"]
    work = step * (STEPS - 1)
    return Killed(
        what,
        reached,
        resumed,
        disturbed_difference(lines, list(expected)),
        again - killed,
        work / elapsed,
        goodput_of_failures(work, cost * STEPS / EVERY, 1, again - killed, EVERY * step),
        cost,
        tuple((line["time"] - lines[0]["time"], round(line["step"])) for line in lines),
    )


def measure(say: Callable[[str], None] = print) -> Demonstration:
    """Run all measurements on this machine."""
    start = time.perf_counter()
    losses, whole = train_in_one_process()
    say(f"One process: {len(losses)} steps, loss {losses[0]:.3f} to {losses[-1]:.3f}.")
    comparisons = {}
    for one in compare(losses):
        comparisons[one.layout] = one
        say(f"  {one.layout:48} largest relative error {one.error:.1e}")
    control = comparisons[CONTROL].error
    compared = [comparisons[layout] for layout in LAYOUTS]
    ring = measure_ring(RING)
    fit = fit_alpha_beta(ring, RING)
    say(
        f"Ring of {RING}: each process sends {ring[-1].sent / ring[-1].size:g} of the message; "
        f"{fit.alpha * 1e6:.0f} microseconds per send, {fit.bandwidth / 1e9:.2f} GB/s."
    )
    bubbles = tuple(measure_bubble(schedule, PIPELINE) for schedule in SCHEDULES)
    for bubble in bubbles:
        measured = f"bubble of {bubble.fitted:.2f} microbatches; {bubble.expected:g} by the formula"
        say(f"  {bubble.schedule:18} {measured}")
    killed = tuple(kill(what, losses, seed) for seed, what in enumerate(("worker", "node")))
    for recovered in killed:
        say(
            f"A {recovered.what} killed at step {recovered.at}: resumed from step {recovered.resumed} after "
            f"{recovered.seconds:.1f} s; largest relative error of a loss {recovered.error:.1e}."
        )
    seconds = time.perf_counter() - start
    return Demonstration(
        whole, tuple(compared), control, tuple(ring), fit, bubbles, killed, tuple(losses), seconds
    )


def write_page(found: Demonstration, path: Path = PAGE) -> Path:
    """Write the measurements as a self-contained page with plots."""
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, LIBRARY]), autoescape=True, undefined=StrictUndefined
    )
    drawings = {
        "memory": memory_plot(found),
        "ring": ring_plot(found),
        "bubble": bubble_plot(found),
        "killed": killed_plot(found),
    }
    plots = {name: Markup(svg) for name, svg in drawings.items()}  # noqa: S704 (our own)
    gpu = path.with_name(GPU)
    on_gpu = json.loads(gpu.read_text(encoding="utf-8"))["sentences"] if gpu.exists() else [NOT_MEASURED]
    text = environment.get_template("demonstration.html.j2").render(
        found=found, plots=plots, processes=RING, on_gpu=on_gpu
    )
    record = json.dumps({"label": MEASURED, "machine": machine(), **asdict(found)}, indent=1)
    write_text(path.with_name(RECORD), record + "\n")
    return write_text(path, text)


def machine() -> str:
    """Describe the machine of the measurements."""
    memory = psutil.virtual_memory().total / 2**30
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{psutil.cpu_count()} cores, {memory:.0f} GiB, {versions}"


@chart(7.2, 4.4)
def memory_plot(figure: Figure, found: Demonstration) -> None:
    """Plot the bytes that a process holds, by layout."""
    axes = figure.add_subplot()
    names = ["one process", *(one.layout for one in found.compared)]
    held = [found.whole, *(max(one.held, key=_total) for one in found.compared)]
    left = np.zeros(len(names))
    for colour, part in zip(SERIES, ("parameters", "gradients", "optimizer"), strict=False):
        width = np.array([getattr(one, part) for one in held]) / 1024
        axes.barh(names, width, left=left, color=colour, label=part)
        left += width
    axes.invert_yaxis()
    axes.set_xlabel("KiB in the fullest process")
    axes.legend()


def _total(held: HeldBytes) -> int:
    return held.parameters + held.gradients + held.optimizer


@chart(7.2, 3.2)
def ring_plot(figure: Figure, found: Demonstration) -> None:
    """Plot the time of an all-reduce by message size: ring, library and fitted model."""
    axes = figure.add_subplot()
    sizes = [one.size for one in found.ring]
    for colour, marker, name, times in zip(
        SERIES,
        MARKERS,
        ("ring of sends", "dist.all_reduce"),
        ([one.ring for one in found.ring], [one.library for one in found.ring]),
        strict=False,
    ):
        axes.plot(sizes, times, color=colour, marker=marker, label=name)
    axes.plot(
        sizes, [found.fit.seconds(size, RING) for size in sizes], "--", color=SERIES[3], label="alpha-beta"
    )
    axes.set(xscale="log", yscale="log", xlabel="bytes of the message", ylabel="seconds")
    axes.legend()


@chart(7.2, 3.2)
def bubble_plot(figure: Figure, found: Demonstration) -> None:
    """Plot the time of a step by microbatches: measured, and by the formula."""
    axes = figure.add_subplot()
    for colour, marker, one in zip(SERIES, MARKERS, found.bubbles, strict=False):
        counts = np.array(list(one.seconds))
        slope = np.polyfit(counts, list(one.seconds.values()), 1)[0]
        axes.plot(counts, list(one.seconds.values()), marker, color=colour, label=one.schedule)
        axes.plot(counts, slope * (counts + one.expected), color=colour, linewidth=0.8)
    axes.set(xlabel="microbatches per step", ylabel="seconds", xlim=(0, None), ylim=(0, None))
    axes.legend()


@chart(7.2, 3.0)
def killed_plot(figure: Figure, found: Demonstration) -> None:
    """Plot the steps over time of the trainings that were killed."""
    axes = figure.add_subplot()
    for colour, one in zip(SERIES, found.killed, strict=False):
        axes.plot(*np.array(one.lines).T, ".", color=colour, markersize=3, label=f"a {one.what} killed")
        axes.axhline(one.resumed, color=LINE, linewidth=0.8)
    axes.set(xlabel="seconds", ylabel="step")
    axes.legend()
