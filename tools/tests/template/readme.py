"""`make test-readme`: run the README's commands one after another on a slice of the flights."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from tests.demo.test_run import ROOT, copy, slice_folder
from tools.tests.template.projects import link_environment

__all__ = ["copy", "slice_folder"]  # fixtures
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
PAGES = "http://127.0.0.1:5000/health"


def block(first: str) -> str:
    """Return the only code block that starts with these words."""
    (found,) = [one for one in BLOCKS if one.startswith(first)]
    return str(found)


@contextmanager
def held(line: str, address: str, **given: Any) -> Iterator[None]:
    """Run a line in the background during the block, once its address answers."""
    process = subprocess.Popen(["/bin/sh", "-c", line], start_new_session=True, **given)
    try:
        until = time.monotonic() + 600
        while process.poll() is None and time.monotonic() < until:
            try:
                if httpx.get(address).is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.2)
        assert process.poll() is None, f"{line} has ended"
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(300)


def test_the_commands_do_what_the_readme_says(
    slice_folder: Path, copy: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    own = {"HOME": str(tmp_path), "FIVESTAGE_DATA": str(slice_folder), "SERVE_PORT": port}
    own["PYTHONPATH"] = str(copy / "packages" / "fivestage" / "src")
    link_environment(copy)
    curl = block("curl").replace(":8000", f":{port}")
    asked = json.loads(curl[curl.index("'{") + 1 : curl.rindex("'")])
    pd.DataFrame([asked]).to_csv(copy / "rows.csv", index=False)
    told = tmp_path / "told"
    request.addfinalizer(
        lambda: subprocess.run(["/bin/sh", "-c", "make clean"], cwd=copy, env=inherited | own, check=True)
    )
    with told.open("wb") as output:
        given: dict[str, Any] = {"cwd": copy, "env": inherited | own, "stdout": output, "stderr": output}
        for line in block("make train").splitlines():
            verb = line.split()[1]
            if verb == "serve":
                with held(line, f"http://127.0.0.1:{port}/readyz", **given):
                    answer = subprocess.run(
                        ["/bin/sh", "-c", curl], check=True, capture_output=True, text=True
                    )
                assert 0 < json.loads(answer.stdout)["predictions"][0]["probability"] < 1
            elif verb == "ui":
                with held(line, PAGES, **given):
                    pass
            else:
                done = subprocess.run(["/bin/sh", "-c", line], timeout=3600, check=False, **given)
                assert done.returncode == 0, f"{line}\n{told.read_text()}"
            if verb == "score":
                assert 0 < pd.read_csv(copy / "scored.csv")["probability"].iloc[0] < 1
    assert not (copy / "var").exists()  # `make clean` was the last
