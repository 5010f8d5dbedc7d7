"""`make bench-serving`: compare the service with an empty FastAPI echo and with other servers, in turns."""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from fivestage.artifact.artifact import Artifact, load_artifact
from fivestage.capacity.inputs import MEASURED, Capacity
from fivestage.common.errors import UserError
from fivestage.common.files import write_between, write_text
from fivestage.common.settings import REPORTS, ROOT, VAR
from fivestage.contract.contract import TimestampColumn, iso
from fivestage.serving.log import open_store
from fivestage.serving.served_version import read_served_version
from tools.bench import peers
from tools.bench.load import Result, cpu_seconds, family, load, post, resident_megabytes

JSON = REPORTS / "bench" / "serving.json"
PAGE = ROOT / "docs" / "serving.md"
PORT = 8790
CONNECTIONS, BATCH = 16, 1000
HALF = "half of the most"  # load at half of the highest rate
CROWD_SECONDS = 5  # at least: one burst of other work is more than a hundredth of two seconds
CROWD, TIMES = 512, 4  # overload: connections, and the rate they ask for, as a multiple of the highest
OURS, ECHO, WORKERS = "fivestage", "empty FastAPI echo", "fivestage, 2 workers"
START_SECONDS = 600
LOGS = VAR / "bench" / "server.log"


@dataclass(frozen=True)
class Line:
    """A server's performance under one kind of load: the median of the rounds."""

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


@dataclass(frozen=True)
class Server:
    """How a server is started, and its requests: single rows in turn, and a batch."""

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    single: Sequence[bytes]
    batch: Sequence[bytes]


def servers(folder: Path, rows: peers.Rows, columns: Mapping[str, str] | None) -> dict[str, Server]:
    """Return the service and the echo, and with `columns` the other servers."""
    echo = [
        "-m",
        "uvicorn",
        "tools.bench.echo:app",
        "--port",
        str(PORT),
        "--no-access-log",
        "--log-level",
        "error",
    ]
    ours = {"SERVE_PORT": str(PORT), "SERVE_FOLDER": str(folder)}
    batch = (list(rows) * BATCH)[:BATCH]
    single = [post("/predict", json.dumps({"rows": [row]}).encode()) for row in rows]
    many = [post("/predict", json.dumps({"rows": batch}).encode())]
    found = {
        OURS: Server([sys.executable, "-m", "serving"], ours, ROOT, single, many),
        ECHO: Server([sys.executable, *echo], {}, ROOT, single, many),
        WORKERS: Server([sys.executable, "-m", "serving"], ours | {"SERVE_WORKERS": "2"}, ROOT, single, many),
    }
    for name, peer in peers.peers(PORT, columns).items() if columns else ():
        command = [str(peers.FOLDER / peer.environment / "bin" / peer.command[0]), *peer.command[1:]]
        single = [peers.request(peer, [row]) for row in rows]
        many = [peers.request(peer, batch)]
        options = peers.environment_of(peer.environment)
        found[name] = Server(command, options, peers.FOLDER, single, many)
    return found


@contextmanager
def started(server: Server) -> Iterator[int]:
    """Start a server, wait until it answers, and yield its process id."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **server.environment}
    LOGS.parent.mkdir(parents=True, exist_ok=True)
    with LOGS.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 (our own commands)
            server.command, cwd=server.folder, env=environment, stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                if load(PORT, server.single, 1, 0.01, process.pid).requests:
                    break
            except OSError:
                pass
            time.sleep(0.05)
            if process.poll() is not None or time.monotonic() > until:
                raise UserError(f"{' '.join(server.command)} does not answer on port {PORT}: see {LOGS}.")
        yield process.pid
    finally:
        processes = family(process.pid)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        for one in processes:  # some servers do not stop their child processes
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()


def measured(name: str, pid: int, server: Server, seconds: float) -> Iterator[Line]:
    """Run one round on a server: idle, single rows at the highest rate, at half of it, and batches."""
    start, one, many = cpu_seconds(pid), server.single, server.batch
    time.sleep(seconds)
    idle = (cpu_seconds(pid) - start) / seconds
    load(PORT, one, CONNECTIONS, 0.5, pid)

    def line(kind: str, connections: int, rows: int, result: Result) -> Line:
        failed = result.failures + result.refused
        if failed or not result.requests:
            raise UserError(f"{name} failed {failed} requests and answered {result.requests}.")
        cpu = result.cpu_seconds / result.requests * 1000
        rate, p50, p99 = result.requests / result.seconds, result.percentile(0.5), result.percentile(0.99)
        memory = resident_megabytes(pid)
        return Line(name, kind, connections, rows, rate, cpu, p50, p99, start, memory, idle)

    highest = load(PORT, one, CONNECTIONS, seconds, pid)
    yield line("the most", CONNECTIONS, 1, highest)
    half = highest.requests / highest.seconds / 2
    yield line(HALF, CONNECTIONS, 1, load(PORT, one, CONNECTIONS, seconds, pid, half))
    yield line("the most", 2, BATCH, load(PORT, many, 2, seconds, pid))


def compare(
    pointer_folder: Path, rounds: int, seconds: float, *, with_peers: bool
) -> tuple[list[Line], float, str]:
    """Compare all servers in turns, restarted in each round: medians, logged bytes per row, and overload."""
    artifact_folder = read_served_version(pointer_folder / "current").folder
    artifact = load_artifact(artifact_folder)
    rows = requests(artifact)
    if with_peers:
        peers.prepare(artifact, artifact_folder, rows, PORT)
    columns = peers.types_of(artifact.contract) if with_peers else None
    found: dict[tuple[Any, ...], list[Line]] = {}
    logged = 0.0
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(pointer_folder / "current", folder)
            for name, server in servers(Path(folder), rows, columns).items():
                print(f"round {number + 1} of {rounds}: {name}", flush=True)
                with started(server) as pid:
                    for line in measured(name, pid, server, seconds):
                        found.setdefault((line.server, line.load, line.rows), []).append(line)
            with closing(open_store(f"sqlite:///{folder}/log.sqlite")) as store:
                _, first = next(store.answers())
            logged = float(len(first.request) + len(first.answer))
    lines = [_median(each) for each in found.values()]
    highest = next(one for one in lines if one.server == OURS and one.rows == 1 and one.load != HALF)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(pointer_folder / "current", folder)
        ours = servers(Path(folder), rows, None)[OURS]
        overload_text = overload(Path(folder), ours, highest.requests_per_s, seconds)
    return lines, logged, overload_text


def overload(folder: Path, server: Server, highest: float, seconds: float) -> str:
    """Ask for several times the highest rate: each request gets a prediction, or 503 with Retry-After."""
    with started(server) as pid:
        load(PORT, server.single, CONNECTIONS, 0.5, pid)
        found = load(PORT, server.single, CROWD, max(seconds, CROWD_SECONDS), pid, TIMES * highest)
        after = load(PORT, server.single, CONNECTIONS, 0.5, pid)
    if found.failures or after.failures or after.refused:
        raise UserError(f"The service failed {found.failures + after.failures} requests under overload.")
    objective = load_artifact(read_served_version(folder / "current").folder).contract.service.p99_ms
    answered, refused = found.requests / found.seconds, found.refused / found.seconds
    return (
        f"Overload: {CROWD} connections, each of which sends its next request after a response, asked for "
        f"{TIMES} times the highest rate above. {answered:,.0f} requests/s were answered, p99 "
        f"{found.percentile(0.99):.1f} ms (objective: {objective:g}), and {refused:,.0f} a second got 503 "
        "with `Retry-After`; none failed, and none was refused afterwards."
    )


def capacity_of(lines: list[Line], logged_bytes: float) -> Capacity:
    """Return the measured capacity of the service, for `make size`."""
    half, most, batch = (
        next(one for one in lines if one.server == OURS and (one.load, one.rows) == selected)
        for selected in ((HALF, 1), ("the most", 1), ("the most", BATCH))
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
    """Return the artifact's smoke rows as a client sends them."""
    columns = artifact.contract.columns
    return [
        {
            name: iso(value) if isinstance(columns[name], TimestampColumn) and value is not None else value
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
    """Return the measurements in Markdown."""
    units = ("connections", "rows", "requests/s", "rows per CPU s", "CPU ms/request", "p50 ms", "p99 ms")
    text = [f"| server | load | {' | '.join(units)} |", f"|---|---|{'---:|' * len(units)}"]
    text += [
        f"| {one.server} | {one.load} | {one.connections} | {one.rows:,} | {one.requests_per_s:,.0f} "
        f"| {one.rows * 1000 / one.cpu_ms_per_request:,.0f} | {one.cpu_ms_per_request:.3f} "
        f"| {one.p50_ms:.2f} | {one.p99_ms:.2f} |"
        for one in sorted(lines, key=lambda one: (one.rows, one.load != HALF, one.server))
    ]
    most = {one.server: one for one in lines if one.rows == 1 and one.load != HALF}
    ours = most[OURS]
    ratio = ours.cpu_ms_per_request / most[ECHO].cpu_ms_per_request
    times = [
        f"{one.cpu_ms_per_request / ours.cpu_ms_per_request:,.0f} times for {name}"
        for name, one in most.items()
        if name not in {OURS, ECHO, WORKERS}
    ]
    about = (
        f"Medians of {rounds} rounds, one process unless stated otherwise, on {os.cpu_count()} cores shared "
        f"with the load. A one-row request costs {ratio:.2f} times the echo's CPU. Ready after "
        f"{ours.start_cpu_s:.2f} s of CPU, {ours.memory_mb:.0f} MB of memory."
    ) + (f" CPU of a one-row request relative to ours: {', '.join(times)}." if times else "")
    return "\n".join([*text, "", about])


def main() -> None:
    """Measure, and write the results to their files and pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="the service's folder (default: var/serving or var/demo)")
    parser.add_argument(
        "--peers", action="store_true", help="also measure the servers of tools/bench/peers.py"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="duration of each load")
    options = parser.parse_args()
    folders = [options.folder] if options.folder else [VAR / "serving", VAR / "demo"]
    try:
        folder = next((one for one in folders if (one / "current").exists()), folders[0])
        lines, logged, overload_text = compare(
            folder, options.rounds, options.seconds, with_peers=options.peers
        )
    except UserError as error:
        sys.exit(str(error))
    JSON.parent.mkdir(parents=True, exist_ok=True)
    JSON.write_text(json.dumps([asdict(line) for line in lines], indent=1), encoding="utf-8")
    write_text(MEASURED, capacity_of(lines, logged).model_dump_json(indent=1) + "\n")
    text = f"{table(lines, options.rounds)}\n\n{overload_text}"
    write_between(PAGE, "measured", text)
    print(f"{text}\n\n`make size` uses this.")


if __name__ == "__main__":
    main()
