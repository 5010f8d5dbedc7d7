"""CPU time of a request by part, its growth with rows, the cost of a start, and queueing delays."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fivestage.artifact.engine import MANY, MANY_STALE
from fivestage.capacity.plan import split_p99
from fivestage.common.errors import UserError
from fivestage.common.settings import VAR
from fivestage.features.encoder import encode
from fivestage.serving.log import open_store
from fivestage.serving.model import Model, load_model
from fivestage.serving.served_version import ServedVersion, read_served_version
from fivestage.serving.store import PredictionRecord
from problem import PROBLEM
from tools.bench.load import load
from tools.bench.serving import CONNECTIONS, PORT, requests, servers, started
from tools.bench.study.sample import best_seconds

TIMES = 2_000
SIZES = (1, 10, 100, 1_000)
LOADS = (0.25, 0.5, 0.75, 0.9)
SECONDS = 3.0
GROUP = 8  # predictions per commit
START = """
import time
started = time.process_time()
import serving.app
from problem import PROBLEM
imported = time.process_time()
from pathlib import Path
from fivestage.artifact.artifact import load_artifact
from fivestage.artifact.engine import Engine
artifact = load_artifact(Path({folder!r}))
loaded = time.process_time()
engine = Engine(artifact, PROBLEM.features)
print(imported - started, loaded - imported, time.process_time() - loaded)
"""


def measure() -> dict[str, Any]:
    """Measure the model of the last `make demo` or `make deploy`."""
    folders = (VAR / "serving", VAR / "demo")
    folder = next((one for one in folders if (one / "current").exists()), None)
    if folder is None:
        raise UserError("There is no model to measure: run `make demo`.")
    pointer = read_served_version(folder / "current")
    model = load_model(pointer, PROBLEM.features)
    rows = requests(model.artifact)
    return {
        "parts": parts(model, rows),
        "batches": batches(model, rows),
        "start": start(pointer),
        "queue": queue(folder, rows, model),
    }


def parts(model: Model, raw_rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the CPU microseconds of a one-row request by part; the rest is HTTP and the event loop."""
    engine, scorer, artifact = model.engine, model.engine.scorer, model.artifact
    bodies = [json.dumps({"rows": [row]}).encode() for row in raw_rows]
    rows = [model.rows.read(body)[0] for body in bodies]
    features = [engine.features(row) for row in rows]
    vectors = [
        [encoded[name] for name in artifact.features]
        for encoded in (encode(one, artifact.categories) for one in features)
    ]
    answers = [engine.predict([row]) for row in rows]
    encoder = msgspec.json.Encoder()
    answer = encoder.encode(engine.form.message("name", model.version, answers[0]))

    def each(work: Callable[[Any], Any], items: list[Any]) -> float:
        rounds = max(1, TIMES // len(items))

        def run() -> None:
            for _ in range(rounds):
                for item in items:
                    work(item)

        return best_seconds(run) / (rounds * len(items)) * 1e6

    total = each(lambda row: engine.predict([row]), rows)
    feature_time = each(engine.features, rows)
    trees = each(scorer.forecast_one, vectors)
    found = {
        "decode and validate": each(model.rows.read, bodies),
        "features, from the history in memory": feature_time,
        "trees and calibration": trees,
        "categories and the decision": max(0.0, total - feature_time - trees),
        "encode the answer": each(
            lambda one: encoder.encode(engine.form.message("name", model.version, one)), answers
        ),
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_store(f"sqlite:///{folder}/log.sqlite")) as store,
    ):
        number = iter(range(10**9))

        def write(size: int) -> None:
            body, text = bodies[0].decode(), answer.decode()
            store.write_answers(
                [
                    PredictionRecord(f"n{next(number)}", time.time(), "1", 0, 1, body, text)
                    for _ in range(size)
                ]
            )

        found["the log, a commit each"] = each(write, [1] * 200)
        found[f"the log, {GROUP} a commit"] = each(write, [GROUP] * 50) / GROUP
    return found


def batches(model: Model, raw_rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Return rows per second of the engine, by rows per call."""
    found = []
    plain = [model.rows.read(json.dumps({"rows": [row]}).encode())[0] for row in raw_rows]
    for size in SIZES:
        rows = (plain * size)[:size]
        model.engine.predict(rows)
        seconds = best_seconds(partial(model.engine.predict, rows), max(3, 300 // size))
        found.append({"rows": size, "us_a_row": seconds / size * 1e6, "rows_per_s": size / seconds})
    return found


def start(pointer: ServedVersion) -> dict[str, float]:
    """Return the CPU seconds until a process can answer, by part: the median of three starts."""
    command = [sys.executable, "-c", START.format(folder=str(pointer.folder))]
    times = []
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (our own words)
        times.append([float(part) for part in done.stdout.split()])
    names = ("import", "read the artifact", "compile and check the trees, rebuild the history")
    return dict(zip(names, np.median(times, axis=0).tolist(), strict=True))


def queue(folder: Path, rows: list[dict[str, Any]], model: Model) -> dict[str, Any]:
    """Return latencies at shares of the highest rate, with the prediction of an M/M/1 queue at each rate."""
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(folder / "current", scratch)
        server = next(iter(servers(Path(scratch), rows, None).values()))
        with started(server) as pid:
            load(PORT, server.single, CONNECTIONS, 0.5, pid)
            full = load(PORT, server.single, CONNECTIONS, SECONDS, pid)
            highest_rate = full.requests / full.seconds
            lines = []
            for share in LOADS:
                found = load(PORT, server.single, CONNECTIONS, SECONDS, pid, share * highest_rate)
                rate = found.requests / found.seconds
                lines.append(
                    {
                        "share": share,
                        "rate": rate,
                        "p50_ms": found.percentile(0.5),
                        "p99_ms": found.percentile(0.99),
                        "expected_p50_ms": float(np.log(2)) / max(1e-9, highest_rate - rate) * 1000,
                        "expected_p99_ms": split_p99(rate, highest_rate, 1) * 1000,
                    }
                )
    threshold = {"many": MANY, "many_stale": MANY_STALE}
    return {"most": highest_rate, "version": model.version, "lines": lines} | threshold
