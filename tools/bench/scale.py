"""`make bench-scale`: run ingestion, features and training on ten and a hundred times the data.

Each stage runs in its own process, so that its peak memory can be measured.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.common.files import digest_of_files, write_between, write_text
from fivestage.common.settings import REPORTS, ROOT, VAR, prepare_environment
from fivestage.data.partitioned import Stored
from fivestage.features.problem import Problem
from problem import PROBLEM
from tools.bench.grow import grow
from tools.bench.learning import Learnt, learning_curve
from tools.bench.memory import peak_bytes

JSON = REPORTS / "bench" / "scale.json"
PAGE = ROOT / "docs" / "scale.md"
FOLDER = VAR / "bench" / "scale"
SIZES = (1, 10, 100)  # multiples of the default data
MEMORY_GB = 4.0  # limit of each stage
DAYS_AFTER = 92  # days of data after the day of training


@dataclass(frozen=True)
class Line:
    """Resources of a stage at one size."""

    times: int
    stage: str
    rows: int
    cpu_seconds: float
    wall_seconds: float
    peak_gb: float


@dataclass(frozen=True)
class Found:
    """All measurements."""

    rows_in_memory: int
    lines: tuple[Line, ...] = ()
    equal: tuple[str, ...] = ()
    curve: tuple[Learnt, ...] = ()


# --- the stages, each in its own process --------------------------------------------------------------------


def data(folder: Path, problem: Problem) -> int:
    """Ingest the raw partitions: clean and validate rows and events; return the number of rows."""
    from fivestage.data.partitioned import Stored

    stored = Stored.ingest(problem, folder / "quarantine", "bench", str(folder / "store"))
    (folder / "stored.json").write_bytes(TypeAdapter(Stored).dump_json(stored))
    return sum(stored.by_day.values())


def features(folder: Path, problem: Problem) -> int:
    """Compute the features of all rows; return the number of rows."""
    return stored_in(folder).featurise(problem)


def training(folder: Path, problem: Problem) -> int:
    """Sample rows, evaluate candidates on the folds, train and save the model; return the number of rows."""
    from fivestage.artifact.artifact import Lineage, save_artifact
    from fivestage.contract.contract import day_of
    from fivestage.training.packaging import fit_chosen
    from fivestage.training.sample import TrainingSample
    from fivestage.training.selection import select

    stored, contract = stored_in(folder), problem.contract
    as_of = str(day_of((max(stored.by_day) - DAYS_AFTER) * DAY))
    rows, event_tables, seen = stored.draw(problem, as_of, as_of)
    sample = TrainingSample.as_of(rows, seen, contract, as_of)
    del seen
    candidates = problem.candidates(len(sample.windows.train), tuple(sample.categories))
    selection = select(sample, candidates)
    fitted = fit_chosen(sample, selection, candidates)
    lineage = Lineage("bench", contract.digest, "bench", "bench")
    save_artifact(fitted.artifact(rows, event_tables, problem, lineage), folder / "model")
    return len(rows)


STAGES: dict[str, Callable[[Path, Problem], int]] = {
    "data": data,
    "features": features,
    "training": training,
}


def stored_in(folder: Path) -> Stored:
    """Load the description of the stored partitions that `data` wrote."""
    return TypeAdapter(Stored).validate_json((folder / "stored.json").read_bytes())


def run_stage(name: str, folder: Path) -> None:
    """Run a stage in this process, and print its resources as JSON."""
    wall, cpu = time.perf_counter(), time.process_time()
    rows = STAGES[name](folder, PROBLEM)
    spent = {
        "rows": rows,
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
        "peak_gb": peak_bytes() / 2**30,
    }
    print(json.dumps(spent))


# --- the bench ----------------------------------------------------------------------------------------------


def measure_size(times: int) -> Iterator[Line]:
    """Run all stages at one size; raise a UserError if one exceeds the memory limit."""
    folder = generate(times)
    for stage in STAGES:
        line = Line(times, stage, **run_in_new_process(folder, stage))
        say(f"{times}x {stage}: {line.rows:,} rows, {line.cpu_seconds:.0f} s, {line.peak_gb:.2f} GiB")
        if line.peak_gb > MEMORY_GB:
            raise UserError(
                f"{stage} at {times}x took {line.peak_gb:.1f} GiB of memory, above {MEMORY_GB:g}."
            )
        yield line
    shutil.rmtree(folder)


def generate(times: int) -> Path:
    """Generate a multiple of the data, in partitions, and return its folder."""
    folder = FOLDER / f"{times}x"
    shutil.rmtree(folder, ignore_errors=True)
    rows = grow(folder / "raw", times)
    say(f"{times}x: {rows:,} raw rows generated")
    return folder


def run_in_new_process(folder: Path, stage: str, workers: str = "") -> dict[str, Any]:
    """Run a stage in a new process, and return its resources."""
    environment = os.environ | {
        "FIVESTAGE_DATA": str(folder / "raw"),
        "FIVESTAGE_WORKERS": workers,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tools.bench.scale", "--stage", stage, "--folder", str(folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False, cwd=ROOT)  # noqa: S603
    if done.returncode:
        raise UserError(f"{stage} in {folder} failed: see its output above.")
    resources: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return resources


def compare_workers() -> Iterator[str]:
    """Run a year in two processes and on two Dask workers, and verify that the files are equal."""
    folder = generate(1)
    digests = {}
    with dask_scheduler() as address:
        for name, workers in {"one process": "", "two processes": "2", "Dask, two workers": address}.items():
            if name != "one process" and not workers:
                continue
            for stage in ("data", "features"):
                run_in_new_process(folder, stage, workers)
            store = folder / "store"
            digests[name] = digest_of_files(store, (path for path in store.rglob("*") if path.is_file()))
    shutil.rmtree(folder)
    for name, digest in digests.items():
        if digest != digests["one process"]:
            raise UserError(f"{name}: the rows or features differ from those of one process.")
        yield name


@contextmanager
def dask_scheduler() -> Iterator[str]:
    """Start a local Dask cluster of two workers; yield its address, empty if Dask is not installed."""
    try:
        from distributed import LocalCluster
    except ImportError:
        yield ""
        return
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield str(cluster.scheduler_address)


def table(found: Found) -> str:
    """Return the measurements in Markdown."""
    text = [
        "| stage | times | rows | CPU, s | wall, s | peak, GiB | slope |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    rows = {line.times: line.rows for line in found.lines if line.stage == "data"}
    for stage in STAGES:
        before: Line | None = None
        for line in sorted((one for one in found.lines if one.stage == stage), key=lambda one: one.times):
            spent = f"{line.cpu_seconds:.0f} | {line.wall_seconds:.0f} | {line.peak_gb:.2f}"
            slope = ""
            if before is not None:
                row_ratio, cpu_ratio = (
                    rows[line.times] / rows[before.times],
                    line.cpu_seconds / before.cpu_seconds,
                )
                slope = f"{math.log(cpu_ratio) / math.log(row_ratio):.2f}"
            text.append(f"| {stage} | {line.times} | {line.rows:,} | {spent} | {slope} |")
            before = line
    about = (
        f"`budget.rows_in_memory` is {found.rows_in_memory:,}. The slope is that of CPU seconds over the "
        "rows of the data from the line before, both logarithmic: 1 is linear, less is better."
    )
    text += ["", about]
    if found.equal:
        text += ["", f"The same files, byte by byte: {'; '.join(found.equal)}."]
    if found.curve:
        text += ["", "| learnt from | rows | log-loss | ROC-AUC | savings |", "|---|---:|---:|---:|---:|"]
        text += [
            f"| {one.chosen} | {one.rows:,} | {one.log_loss:.4f} | {one.roc_auc:.3f} "
            f"| {one.savings_share:.1%} |"
            for one in sorted(found.curve, key=lambda one: (one.chosen, one.rows))
        ]
    return "\n".join(text)


def write(found: Found) -> None:
    """Write the record and the page."""
    write_text(JSON, json.dumps(asdict(found), indent=1))
    write_between(PAGE, "measured", table(found))


def say(sentence: str) -> None:
    """Print a line of progress."""
    print(sentence, flush=True)


def bench(sizes: Sequence[int], *, others: bool) -> None:
    """Measure the given sizes and keep the record of the others; with `others`, measure the rest too."""
    previous = TypeAdapter(Found).validate_json(JSON.read_bytes()) if JSON.exists() else Found(0)
    curve, equal = (
        (tuple(learning_curve()), tuple(compare_workers())) if others else (previous.curve, previous.equal)
    )
    lines = [line for line in previous.lines if line.times not in sizes]

    def save() -> None:
        write(Found(PROBLEM.contract.budget.rows_in_memory, tuple(lines), equal, curve))

    save()
    for times in sizes:
        lines.extend(measure_size(times))
        save()


def main() -> None:
    """Run the benchmark, or one stage of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, nargs="*", choices=SIZES, default=list(SIZES), help="the sizes")
    parser.add_argument(
        "--only-sizes", action="store_true", help="skip the learning curve and the other workers"
    )
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    prepare_environment()
    try:
        if options.stage:
            run_stage(options.stage, options.folder)
        else:
            bench(options.times, others=not options.only_sizes)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
