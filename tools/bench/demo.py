"""`make bench-demo`: wall time and CPU of a first run by stage, on an idle and on a busy machine."""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from fivestage.common.errors import UserError
from fivestage.common.files import write_text
from fivestage.common.settings import REPORTS, ROOT
from fivestage.common.threads import VARIABLES, available_cores
from fivestage.reporting.number_format import seconds as shown
from tools.bench.load import cpu_seconds

JSON = REPORTS / "bench" / "demo.json"  # `make docs` collects it
STAGES = ("problem", "data", "model", "serving", "monitoring")  # as printed by run.py
START = "start"  # imports, and opening the stores of ZenML and MLflow
# Keeps a core busy until its parent process ends.
BUSY = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): sum(range(100_000))"


@dataclass(frozen=True)
class Spent:
    """Wall time, and CPU time of the demo with all its child processes."""

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Installation:
    """`make setup` in a fresh clone: duration including downloads, and disk space."""

    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Found:
    """Runs by name and stage, and the installation if measured."""

    cores: int
    runs: dict[str, dict[str, Spent]]
    installation: Installation | None = None


def demo(project: Path, state: Path) -> dict[str, Spent]:
    """Run the demo of a project with its own state folder.

    Args:
        project: a checkout with its `.venv`.
        state: the state folder; a run reuses what an earlier one left there, as a user's second run does.

    Returns:
        Time of each stage; `total` is their sum.

    Raises:
        UserError: if the demo fails; with the end of its output.
    """
    # Without this process's own thread settings.
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment = inherited | {
        "FIVESTAGE_VAR": str(state / "var"),
        "FIVESTAGE_REPORTS": str(state / "reports"),
        "SERVE_PORT": str(_free_port()),
    }
    command = [str(project / ".venv" / "bin" / "python"), "run.py", "demo"]
    started_at, used = time.perf_counter(), 0.0
    marks, lines = [(START, started_at, used)], []
    with subprocess.Popen(  # noqa: S603 (our own program)
        command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None  # noqa: S101 (a pipe)
        for line in running.stdout:
            lines.append(line)
            used = max(used, cpu_seconds(running.pid))  # 0 once the process has ended
            name = line.partition(":")[0].partition(" (")[0]  # as in "data (2 of 5): raw tables, ..."
            if name in STAGES:
                marks.append((name, time.perf_counter(), used))
    if running.returncode:
        raise UserError(f"The demo in {project} failed:\n{''.join(lines[-15:])}")
    marks.append(("", time.perf_counter(), used))
    stages = {
        name: Spent(after - before, until - since)
        for (name, before, since), (_, after, until) in pairwise(marks)
    }
    return stages | {"total": Spent(time.perf_counter() - started_at, used)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def busy(programs: int) -> Iterator[None]:
    """Keep this many cores busy during the block."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY, str(os.getpid())]) for _ in range(programs)]  # noqa: S603 (ours)
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def install(scratch: Path) -> Installation:
    """Clone this repository and install what `make demo` needs, with an empty uv cache."""
    clone = scratch / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)  # noqa: S603, S607 (the user's own)
    started_at = time.perf_counter()
    environment = os.environ | {"UV_CACHE_DIR": str(scratch / "cache")}
    subprocess.run(["make", ".venv/installed"], cwd=clone, env=environment, check=True, capture_output=True)  # noqa: S607
    taken = time.perf_counter() - started_at
    size = sum(one.lstat().st_size for one in (clone / ".venv").rglob("*") if one.is_file())
    return Installation(taken, size / 1e6)


def measure(project: Path, *, installing: bool, contended: bool) -> Found:
    """Run the demo for the first time, a second time, and again from scratch on a busy machine."""
    cores = available_cores()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        found = install(folder) if installing else None
        runs = {"first": demo(project, folder / "alone"), "second": demo(project, folder / "alone")}
        if contended:
            with busy(cores):
                runs["contended"] = demo(project, folder / "contended")
    return Found(cores, runs, found)


def table(found: Found) -> str:
    """Return the measurements as a table in Markdown."""
    names = {"first": "first run", "second": "second run", "contended": "first run, all cores busy"}
    runs = [name for name in names if name in found.runs]
    lines = [
        f"| stage | {' | '.join(f'{names[name]}: wall | CPU' for name in runs)} |",
        f"|---|{'---:|---:|' * len(runs)}",
    ]
    for stage in (START, *STAGES, "total"):
        spent = [found.runs[name].get(stage, Spent(0.0, 0.0)) for name in runs]
        cells = " | ".join(f"{shown(one.seconds)} | {shown(one.cpu_seconds)}" for one in spent)
        lines.append(f"| {stage} | {cells} |")
    return "\n".join([*lines, "", *_sentences(found)]).strip()


def _sentences(found: Found) -> Iterator[str]:
    runs = found.runs
    if "contended" in runs:
        for stage, what in (("model", "Training"), ("total", "The whole demo")):
            ratio = runs["contended"][stage].cpu_seconds / runs["first"][stage].cpu_seconds
            yield f"{what} takes {ratio:.2f} times the CPU when other programs keep all cores busy."
    if "second" in runs and not set(STAGES) & set(runs["second"]):
        yield "The second run found nothing to do, as nothing had changed."
    if found.installation:
        duration, size = found.installation.seconds, found.installation.megabytes
        used = f"{shown(duration)} and {size / 1000:.1f} GB of disk"
        yield f"The installation, downloads included, took {used}."


def main() -> None:
    """Measure, and write the record for `make docs`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--install", action="store_true", help="measure the installation too")
    parser.add_argument("--alone", action="store_true", help="skip the run on a busy machine")
    parser.add_argument("--project", type=Path, help="another checkout to compare with; no record is written")
    options = parser.parse_args()
    try:
        project = options.project or ROOT
        found = measure(project.resolve(), installing=options.install, contended=not options.alone)
        text = table(found)
        if options.project is None:
            content = json.dumps(asdict(found), indent=1)
            write_text(JSON, content)
    except UserError as error:
        sys.exit(str(error))
    print(text)


if __name__ == "__main__":
    main()
