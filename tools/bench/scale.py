"""`make bench-scale`: ten and a hundred times the data through ingestion, features and training.

Each stage is a process of its own, so that its peak of memory is its own.
"""

import argparse
import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
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
from tools.bench.learning import Learnt, learning_curve
from tools.bench.memory import peak_bytes

JSON = REPORTS / "bench" / "scale.json"
PAGE = ROOT / "docs" / "scale.md"
FOLDER = VAR / "bench" / "scale"
SIZES = (1, 10, 100)  # times the default data
MEMORY_GB = 4.0  # that each stage must keep to
DAYS_AFTER = 92  # that the data reach beyond the day of training


@dataclass(frozen=True)
class Line:
    """What a stage took at one size."""

    times: int
    stage: str
    rows: int
    cpu_seconds: float
    wall_seconds: float
    peak_gb: float


@dataclass(frozen=True)
class Found:
    """All that was measured."""

    rows_in_memory: int
    lines: tuple[Line, ...] = ()
    equal: tuple[str, ...] = ()
    curve: tuple[Learnt, ...] = ()


# --- the stages, each in its own process --------------------------------------------------------------------


def data(folder: Path, problem: Problem) -> int:
    """Parts to cleaned and validated rows and events."""
    from fivestage.data.partitioned import Stored

    stored = Stored.ingest(problem, folder / "quarantine", "bench", str(folder / "store"))
    (folder / "stored.json").write_bytes(TypeAdapter(Stored).dump_json(stored))
    return sum(stored.by_day.values())


def features(folder: Path, problem: Problem) -> int:
    """Rows and events to features."""
    return stored_in(folder).featurise(problem)


def training(folder: Path, problem: Problem) -> int:
    """Rows drawn, baselines and candidates on the folds, the trees, the artifact; returns the rows drawn."""
    from fivestage.artifact.artifact import Lineage, save_artifact
    from fivestage.data.sampling import draw_rows
    from fivestage.data.splits import cut
    from fivestage.training.packaging import fit_chosen
    from fivestage.training.sample import training_sample
    from fivestage.training.selection import select

    stored, contract = stored_in(folder), problem.contract
    as_of = (max(stored.by_day) - DAYS_AFTER) * DAY
    rows, event_tables, seen = draw_rows(stored, problem, as_of, as_of)
    windows = cut(rows["decision_at"].to_numpy(), rows["known_at"].to_numpy(), contract.split, as_of)
    sample = training_sample(rows, seen, windows, contract)
    del seen
    candidates = problem.candidates(len(windows.train), tuple(sample.categories))
    selection = select(sample, windows, contract, candidates)
    fitted = fit_chosen(sample, windows, selection, contract, candidates)
    lineage = Lineage("bench", contract.digest, "bench", "bench")
    save_artifact(fitted.artifact(rows, windows, event_tables, problem, lineage), folder / "model")
    return len(rows)


STAGES: dict[str, Callable[[Path, Problem], int]] = {
    "data": data,
    "features": features,
    "training": training,
}


def stored_in(folder: Path) -> Stored:
    """What `data` has told."""
    return TypeAdapter(Stored).validate_json((folder / "stored.json").read_bytes())


def run_stage(name: str, folder: Path) -> None:
    """Run a stage here, and print what it took as JSON."""
    wall, cpu = time.perf_counter(), time.process_time()
    rows = STAGES[name](folder, PROBLEM)
    spent = {
        "rows": rows,
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
        "peak_gb": peak_bytes() / 2**30,
    }
    print(json.dumps(spent))  # noqa: T201 (for the process that asked)


# --- the bench ----------------------------------------------------------------------------------------------


def measured(times: int) -> Iterator[Line]:
    """Each stage at one size, on data made for it.

    Raises:
        UserError: when a stage fails, or takes more memory than it may.
    """
    folder = grown(times)
    for stage in STAGES:
        line = Line(times, stage, **asked(folder, stage))
        say(f"{times}x {stage}: {line.rows:,} rows, {line.cpu_seconds:.0f} s, {line.peak_gb:.2f} GiB")
        if line.peak_gb > MEMORY_GB:
            raise UserError(
                f"{stage} at {times}x took {line.peak_gb:.1f} GiB of memory, above {MEMORY_GB:g}."
            )
        yield line
    shutil.rmtree(folder)


def grown(times: int) -> Path:
    """A folder with so many times the data, in parts."""
    folder = FOLDER / f"{times}x"
    shutil.rmtree(folder, ignore_errors=True)
    rows = importlib.import_module("bench.grow").grow(folder / "raw", times)
    say(f"{times}x: {rows:,} raw rows made")
    return folder


def asked(folder: Path, stage: str, workers: str = "") -> dict[str, Any]:
    """What a stage takes in a process of its own.

    Raises:
        UserError: when it fails.
    """
    environment = os.environ | {
        "FIVESTAGE_DATA": str(folder / "raw"),
        "FIVESTAGE_WORKERS": workers,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tools.bench.scale", "--stage", stage, "--folder", str(folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False, cwd=ROOT)  # noqa: S603
    if done.returncode:
        raise UserError(f"{stage} in {folder} failed; what it printed stands above.")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def elsewhere() -> Iterator[str]:
    """The year in parts in two processes, and on a Dask cluster of two workers: the same files."""
    folder = grown(1)
    digests = {}
    with scheduler() as address:
        for name, workers in {"one process": "", "two processes": "2", "Dask, two workers": address}.items():
            if name != "one process" and not workers:
                continue
            for stage in ("data", "features"):
                asked(folder, stage, workers)
            store = folder / "store"
            digests[name] = digest_of_files(store, (path for path in store.rglob("*") if path.is_file()))
    shutil.rmtree(folder)
    for name, digest in digests.items():
        if digest != digests["one process"]:
            raise UserError(f"{name} wrote other rows or features than one process did.")
        yield name


class scheduler:  # noqa: N801 (reads as a verb's object)
    """A Dask cluster of two workers on this machine; an empty address where Dask is not installed."""

    def __init__(self) -> None:
        self._cluster: Any = None

    def __enter__(self) -> str:
        try:
            from distributed import LocalCluster
        except ImportError:
            return ""
        self._cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        return str(self._cluster.scheduler_address)

    def __exit__(self, *_: object) -> None:
        if self._cluster is not None:
            self._cluster.close()


def table(found: Found) -> str:
    """The measurements in Markdown."""
    text = [
        "| stage | times | rows | CPU, s | wall, s | peak, GiB | slope |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    rows = {line.times: line.rows for line in found.lines if line.stage == "data"}
    for stage in STAGES:
        before: Line | None = None
        for line in sorted((one for one in found.lines if one.stage == stage), key=lambda one: one.times):
            spent = f"{line.cpu_seconds:.0f} | {line.wall_seconds:.0f} | {line.peak_gb:.2f}"
            steep = ""
            if before is not None:
                more, dearer = rows[line.times] / rows[before.times], line.cpu_seconds / before.cpu_seconds
                steep = f"{math.log(dearer) / math.log(more):.2f}"
            text.append(f"| {stage} | {line.times} | {line.rows:,} | {spent} | {steep} |")
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
    """Keep the results, and write them where they are read."""
    write_text(JSON, json.dumps(asdict(found), indent=1))
    write_between(PAGE, "measured", table(found))


def say(sentence: str) -> None:
    """Print a line of progress."""
    print(sentence, flush=True)  # noqa: T201 (for a person)


def bench(sizes: Sequence[int], *, others: bool) -> None:
    """Measure the sizes asked for, in place of what was known of them; with `others`, all else, too.

    Raises:
        UserError: when nobody has said how the data grow, or a stage fails.
    """
    if importlib.util.find_spec("bench.grow") is None:
        raise UserError(
            "Say how your data grow: tools/bench/grow.py with grow(folder, times), which counts them."
        )
    kept = TypeAdapter(Found).validate_json(JSON.read_bytes()) if JSON.exists() else Found(0)
    curve, equal = (tuple(learning_curve()), tuple(elsewhere())) if others else (kept.curve, kept.equal)
    lines = [line for line in kept.lines if line.times not in sizes]
    for times in sizes:
        lines.extend(measured(times))
        write(Found(PROBLEM.contract.budget.rows_in_memory, tuple(lines), equal, curve))
    if not sizes:
        write(Found(PROBLEM.contract.budget.rows_in_memory, tuple(lines), equal, curve))


def main() -> None:
    """Measure, or be one stage of what is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, nargs="*", choices=SIZES, default=list(SIZES), help="the sizes")
    parser.add_argument("--only-sizes", action="store_true", help="no learning curve, no other workers")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    prepare_environment()
    try:
        if given.stage:
            run_stage(given.stage, given.folder)
        else:
            bench(given.times, others=not given.only_sizes)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
