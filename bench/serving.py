"""`make bench-serving`: the service beside an empty FastAPI echo of the same schema, in turns."""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.load import Result, cpu_seconds, load, post, resident_megabytes
from core.contract import Timestamp, iso
from core.errors import UserError
from core.settings import REPORTS, ROOT, VAR
from serving.artifact import Artifact, load_artifact
from serving.log import open_store
from serving.pointer import read_pointer
from sizing.capacity import Capacity, write_capacity

JSON = REPORTS / "bench" / "serving.json"
PAGE = ROOT / "docs" / "serving.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PORT = 8790
CONNECTIONS, BATCH = 16, 1000
HALF = "half of the most"


@dataclass(frozen=True)
class Line:
    """What a server did under one kind of load: the median of the rounds."""

    server: str
    load: str
    connections: int
    rows: int
    requests_per_s: float
    cpu_ms_per_request: float
    p50_ms: float
    p99_ms: float
    start_cpu_s: float
    memory_mb: float
    idle_cpu: float  # share of a core


def servers(folder: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Commands and their environment."""
    echo = ["-m", "uvicorn", "bench.echo:app", "--port", str(PORT), "--no-access-log", "--log-level", "error"]
    ours = {"SERVE_PORT": str(PORT), "SERVE_FOLDER": str(folder)}
    return {
        "fivestage": ([sys.executable, "-m", "serving"], ours),
        "empty FastAPI echo": ([sys.executable, *echo], {}),
    }


@contextmanager
def started(command: Sequence[str], given: dict[str, str], request: bytes) -> Iterator[int]:
    """A server that answers, as its process number.

    Raises:
        UserError: when it does not.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **given}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)  # noqa: S603 (ours)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                if load(PORT, request, 1, 0.01, process.pid).failures == 0:
                    break
            except OSError:
                time.sleep(0.05)
            if process.poll() is not None or time.monotonic() > until:
                raise UserError(f"{' '.join(command)} does not answer on port {PORT}.")
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def measured(name: str, pid: int, bodies: tuple[bytes, bytes], seconds: float) -> Iterator[Line]:
    """One round of a server: nothing, as many single rows as it takes, half of that, and batches."""
    start, (one, many) = cpu_seconds(pid), bodies
    time.sleep(seconds)
    idle = (cpu_seconds(pid) - start) / seconds
    load(PORT, one, CONNECTIONS, 0.5, pid)

    def line(kind: str, connections: int, rows: int, result: Result) -> Line:
        if result.failures:
            raise UserError(f"{name} failed {result.failures} of {result.requests} requests.")
        cpu = result.cpu_seconds / result.requests * 1000
        rate, p50, p99 = result.requests / result.seconds, result.percentile(0.5), result.percentile(0.99)
        memory = resident_megabytes(pid)
        return Line(name, kind, connections, rows, rate, cpu, p50, p99, start, memory, idle)

    most = load(PORT, one, CONNECTIONS, seconds, pid)
    yield line("the most", CONNECTIONS, 1, most)
    half = most.requests / most.seconds / 2
    yield line(HALF, CONNECTIONS, 1, load(PORT, one, CONNECTIONS, seconds, pid, half))
    yield line("the most", 2, BATCH, load(PORT, many, 2, seconds, pid))


def compare(pointer_folder: Path, rounds: int, seconds: float) -> tuple[list[Line], float]:
    """All servers in turns, each started anew in each round: medians, and the bytes logged for one row.

    Raises:
        UserError: when a server fails.
    """
    artifact = load_artifact(read_pointer(pointer_folder / "current").folder)
    rows = requests(artifact)
    one = post("/predict", json.dumps({"rows": rows[:1]}).encode())
    many = post("/predict", json.dumps({"rows": (rows * BATCH)[:BATCH]}).encode())
    found: dict[tuple[Any, ...], list[Line]] = {}
    logged = 0.0
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(pointer_folder / "current", folder)
            for name, (command, given) in servers(Path(folder)).items():
                print(f"round {number + 1} of {rounds}: {name}", flush=True)  # noqa: T201 (for a person)
                with started(command, given, one) as pid:
                    for line in measured(name, pid, (one, many), seconds):
                        found.setdefault((line.server, line.load, line.rows), []).append(line)
            with closing(open_store(f"sqlite:///{folder}/log.sqlite")) as store:
                _, first = next(store.answers())
            logged = float(len(first.request) + len(first.answer))
    return [_median(lines) for lines in found.values()], logged


def capacity_of(lines: list[Line], logged_bytes: float) -> Capacity:
    """What `make size` needs to know of the service."""
    half, most, batch = (
        next(one for one in lines if one.server == "fivestage" and (one.load, one.rows) == wanted)
        for wanted in ((HALF, 1), ("the most", 1), ("the most", BATCH))
    )
    numbers = {
        "row_cpu_ms": half.cpu_ms_per_request,
        "rate": half.requests_per_s,
        "p99_ms": half.p99_ms,
        "most_per_s": most.requests_per_s,
        "batch_rows": BATCH,
        "batch_cpu_ms": batch.cpu_ms_per_request,
        "idle_cpu": half.idle_cpu,
        "start_cpu_s": half.start_cpu_s,
        "memory_mb": max(half.memory_mb, batch.memory_mb),
        "logged_bytes": logged_bytes,
    }
    return Capacity(
        measured=datetime.now(UTC).date(),
        machine=f"one process on {os.cpu_count()} cores shared with the load",
        **{name: float(f"{value:.4g}") for name, value in numbers.items()},
    )


def requests(artifact: Artifact) -> list[dict[str, Any]]:
    """Rows of the artifact as a client sends them."""
    columns = artifact.contract.columns
    return [
        {
            name: iso(value) if isinstance(columns[name], Timestamp) and value is not None else value
            for name, value in one.row.items()
        }
        for one in artifact.smoke
    ]


def _median(lines: list[Line]) -> Line:
    numbers = {
        name: statistics.median(getattr(line, name) for line in lines)
        for name, value in asdict(lines[0]).items()
        if isinstance(value, float)
    }
    return Line(**{**asdict(lines[0]), **numbers})


def table(lines: list[Line], rounds: int) -> str:
    """The measurements in Markdown."""
    units = ("connections", "rows", "requests/s", "rows per CPU s", "CPU ms/request", "p50 ms", "p99 ms")
    text = [f"| server | load | {' | '.join(units)} |", f"|---|---|{'---:|' * len(units)}"]
    text += [
        f"| {one.server} | {one.load} | {one.connections} | {one.rows:,} | {one.requests_per_s:,.0f} "
        f"| {one.rows * 1000 / one.cpu_ms_per_request:,.0f} | {one.cpu_ms_per_request:.3f} "
        f"| {one.p50_ms:.2f} | {one.p99_ms:.2f} |"
        for one in sorted(lines, key=lambda one: (one.rows, one.load != HALF, one.server))
    ]
    ours, echo = (
        next(one for one in lines if one.server == name and one.rows == 1 and one.load != HALF)
        for name in servers(Path())
    )
    ratio = ours.cpu_ms_per_request / echo.cpu_ms_per_request
    about = (
        f"Medians of {rounds} rounds, one process each, on {os.cpu_count()} cores shared with the load. "
        f"A one-row request costs {ratio:.2f} times the echo's CPU. Ready after {ours.start_cpu_s:.2f} s of "
        f"CPU, {ours.memory_mb:.0f} MB of memory."
    )
    return "\n".join([*text, "", about])


def main() -> None:
    """Measure, and write the results where they are read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="the service's folder (default: var/serving or var/demo)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of each load")
    given = parser.parse_args()
    folders = [given.folder] if given.folder else [VAR / "serving", VAR / "demo"]
    try:
        folder = next((one for one in folders if (one / "current").exists()), folders[0])
        lines, logged = compare(folder, given.rounds, given.seconds)
    except UserError as error:
        sys.exit(str(error))
    JSON.parent.mkdir(parents=True, exist_ok=True)
    JSON.write_text(json.dumps([asdict(line) for line in lines], indent=1), encoding="utf-8")
    write_capacity(capacity_of(lines, logged))
    text = table(lines, given.rounds)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    print(f"{text}\n\n`make size` takes this up.")  # noqa: T201 (for a person)


if __name__ == "__main__":
    main()
