"""From raw tables to an answer over HTTP and a scored file, by the commands, in a state folder of its own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pandas as pd
import pytest

from fivestage.artifact.artifact import load_artifact
from fivestage.common.settings import ROOT
from fivestage.deployment.service_client import json_rows
from problem import PROBLEM


def command(folder: Path, port: int, *words: str) -> str:
    """What a command of run.py prints."""
    given = {"FIVESTAGE_VAR": str(folder / "var"), "FIVESTAGE_REPORTS": str(folder / "reports")}
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("ZENML", "MLFLOW", "_"))
    }
    done = subprocess.run(
        [sys.executable, "run.py", *words],
        cwd=ROOT,
        env=inherited | given | {"SERVE_PORT": str(port)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_train_deploy_predict_and_score(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert "is the champion" in command(tmp_path, port, "train")
    try:
        assert "answers at" in command(tmp_path, port, "deploy")
        pointer = json.loads((tmp_path / "var" / "serving" / "current").read_text())
        smoke = load_artifact(Path(pointer["folder"])).smoke
        (row,) = json_rows(pd.DataFrame([smoke[0].row]), PROBLEM.contract.columns)
        assert httpx.post(f"http://127.0.0.1:{port}/predict", json=row).json()["predictions"]
    finally:
        command(tmp_path, port, "stop")
    pd.DataFrame([row]).to_csv(tmp_path / "rows.csv", index=False)
    command(
        tmp_path, port, "score", "--input", str(tmp_path / "rows.csv"), "--output", str(tmp_path / "out.csv")
    )
    assert len(pd.read_csv(tmp_path / "out.csv")) == 1
