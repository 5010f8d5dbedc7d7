"""Other model servers to compare with: an environment for each, its command, and its requests."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.trees import Trees
from fivestage.common.errors import UserError
from fivestage.common.settings import ROOT, VAR
from fivestage.contract.contract import Contract, NumberColumn
from tools.bench.load import post

FOLDER = VAR / "bench"
KINDS = {"category": "text", "timestamp": "moment", "integer": "number", "number": "number"}
Rows = Sequence[Mapping[str, Any]]
MODEL = ("numpy==2.4.6", "pandas==3.0.6", "scikit-learn==1.9.1")
ENVIRONMENTS = {
    "mlflow": ("mlflow==3.17.2", *MODEL),
    "bentoml": ("bentoml==1.4.39", *MODEL),
    "litserve": ("litserve==0.2.19", "msgspec==0.22.0", "pyyaml==6.0.3", *MODEL),
    # MLServer 1.7.1 does not start with uvloop 0.22 and later (SeldonIO/MLServer#2286).
    "mlserver": ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop==0.21.0", *MODEL),
}
# Drift detectors; NannyML 0.13.1 imports statsmodels without declaring it.
DETECTORS = {"nannyml": ("nannyml==0.13.1", "statsmodels==0.15.0", "pandas==2.3.3")}
# KServe's client of the Open Inference Protocol, which includes its server.
CLIENTS = {"kserve": ("kserve==0.21.0",)}


@dataclass(frozen=True)
class Peer:
    """A server: its environment, command, path and request body."""

    environment: str
    command: tuple[str, ...]
    path: str
    body: Callable[[Rows], Any]


def peers(port: int, columns: Mapping[str, str]) -> dict[str, Peer]:
    """Return the servers by name; `columns` maps each column to its type in MLServer's protocol."""

    def plain(rows: Rows) -> Any:
        return {"rows": rows}

    def records(rows: Rows) -> Any:
        return {"dataframe_records": rows}

    def tensors(rows: Rows) -> Any:
        text = {"content_type": "str"}
        return {
            "parameters": {"content_type": "pd"},
            "inputs": [
                {
                    "name": name,
                    "datatype": kind,
                    "shape": [len(rows), 1],
                    "data": [row[name] for row in rows],
                    **({"parameters": text} if kind == "BYTES" else {}),
                }
                for name, kind in columns.items()
            ],
        }

    where = ("--host", "127.0.0.1", "--port", str(port))
    infer = "/v2/models/rows/infer"
    lit = ("python", "-m", "tools.bench.peer_litserve", str(port))
    served = ("mlflow", "models", "serve", "-m", "mlflow-model", "--env-manager", "local", "--workers", "1")
    bento = ("bentoml", "serve", *where, "--api-workers", "1")
    return {
        "mlflow models serve": Peer("mlflow", (*served, *where), "/invocations", records),
        "BentoML": Peer("bentoml", (*bento, "tools.bench.peer:Plain"), "/predict", plain),
        "BentoML, adaptive batching": Peer(
            "bentoml", (*bento, "tools.bench.peer:Batched"), "/predict", plain
        ),
        "LitServe": Peer("litserve", lit, "/predict", plain),
        "LitServe with our engine": Peer("litserve", (*lit, "engine"), "/predict", plain),
        "MLServer, batching": Peer("mlserver", ("mlserver", "start", "mlserver"), infer, tensors),
    }


def types_of(contract: Contract) -> dict[str, str]:
    """Return each column's type in MLServer's protocol; timestamps are text."""
    names = {"integer": "INT64", "number": "FP64"}
    return {
        name: names[column.type] if isinstance(column, NumberColumn) else "BYTES"
        for name, column in contract.columns.items()
    }


def prepare(artifact: Artifact, artifact_folder: Path, rows: Rows, port: int) -> None:
    """Install the environments, and train a model of the same size in each."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    trees = artifact.models
    if not isinstance(trees, Trees):
        raise UserError(
            "The served model is not a tree ensemble, so the other servers cannot get one of the same size."
        )
    leaves = np.add.reduceat(trees.is_leaf().astype(int), trees.roots)
    given = {
        "rows": rows,
        "kinds": {name: KINDS[column.type] for name, column in artifact.contract.columns.items()},
        "trees": len(trees.roots),
        "leaves": int(leaves.max()),
        "port": port,
        "artifact": str(artifact_folder),
    }
    (FOLDER / "given.json").write_text(json.dumps(given), encoding="utf-8")
    for name in ENVIRONMENTS:
        _run(name, [str(installed(name)), "-m", "tools.bench.peer", name])


def installed(name: str) -> Path:
    """Return the Python of an environment, which is installed if it is missing or outdated."""
    requirements = {**ENVIRONMENTS, **DETECTORS, **CLIENTS}[name]
    folder = FOLDER / name
    python, done = folder / "bin" / "python", folder / "installed.txt"
    if not done.exists() or done.read_text(encoding="utf-8") != "\n".join(requirements):
        print(f"installing {requirements[0]} into {folder}", flush=True)
        FOLDER.mkdir(parents=True, exist_ok=True)
        uv = [sys.executable, "-m", "uv"]
        _run(name, [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        _run(
            name,
            [*uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *requirements],
        )
        done.write_text("\n".join(requirements), encoding="utf-8")
    return python


def environment_of(name: str) -> dict[str, str]:
    """Return the environment variables for commands of an environment."""
    folder = FOLDER / name
    return {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "packages" / "fivestage" / "src")]),
        "BENCH_FOLDER": str(FOLDER),
        "BENTOML_HOME": str(FOLDER / "bentoml-home"),
        "BENTOML_DO_NOT_TRACK": "True",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "NML_DISABLE_USAGE_LOGGING": "1",
        "DO_NOT_TRACK": "true",
        "OMP_NUM_THREADS": "1",
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(VAR / "uv")),
    }


def request(peer: Peer, rows: Rows) -> bytes:
    """Return a request with rows in the server's format."""
    return post(peer.path, json.dumps(peer.body(rows)).encode())


def _run(name: str, command: list[str]) -> None:
    given = {**os.environ, **environment_of(name)}
    done = subprocess.run(command, cwd=FOLDER, env=given, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise UserError(f"The environment of {name} cannot be prepared: {done.stderr[-2000:]}")
