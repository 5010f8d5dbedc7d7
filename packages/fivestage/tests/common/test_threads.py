import os
import subprocess
import sys
from pathlib import Path

import pytest

from fivestage.common.threads import available_cores

SETTINGS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OPENBLAS_NUM_THREADS")
CORES = len(os.sched_getaffinity(0))


def cores_in(folder: Path, files: dict[str, str]) -> int:
    """Cores that a process in a container with these files has."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return available_cores(folder)


def in_new_process(code: str, **given: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment | given, capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize(
    "files",
    [
        {"cpu.max": "50000 100000\n"},
        {"cpu.max": "100000 100000\n"},
        {"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "100000\n"},
    ],
)
def test_a_quota_of_one_core_or_less_is_one_core(tmp_path: Path, files: dict[str, str]) -> None:
    assert cores_in(tmp_path, files) == 1


@pytest.mark.parametrize(
    "files",
    [
        {"cpu.max": "max 100000\n"},
        {"cpu.max": "9900000 100000\n"},
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        {},
    ],
)
def test_without_a_quota_the_affinity_counts(tmp_path: Path, files: dict[str, str]) -> None:
    assert cores_in(tmp_path, files) == CORES


def test_the_affinity_of_a_process_limits_its_threads() -> None:
    code = "import os; os.sched_setaffinity(0, {next(iter(os.sched_getaffinity(0)))}); import fivestage"
    told = in_new_process(f"{code}; print(os.environ['OMP_NUM_THREADS'])")
    assert told.stdout == "1\n"


def test_openmp_waits_passively_and_does_not_complain_about_an_empty_variable() -> None:
    loaded = in_new_process(
        "import fivestage, sklearn.ensemble", OMP_WAIT_POLICY="", OMP_DISPLAY_ENV="verbose"
    )
    assert "Invalid" not in loaded.stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in loaded.stderr
    assert "GOMP_SPINCOUNT = '0'" in loaded.stderr


def test_what_the_environment_says_is_kept() -> None:
    told = in_new_process(
        "import fivestage, os; print(os.environ['OMP_NUM_THREADS'])", OMP_NUM_THREADS="7", OMP_WAIT_POLICY=""
    )
    assert told.stdout == "7\n"
