import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def test_the_locks_name_versions_and_hashes_and_no_address() -> None:
    for name in ("requirements.lock", "requirements-torch.lock"):
        lock = (PACKAGE / name).read_text(encoding="utf-8")
        assert "://" not in lock
        assert len(re.findall(r"(?m)^[a-z0-9-]+==", lock)) > 1


def test_only_the_lock_of_torch_has_libraries_of_cuda() -> None:
    assert not re.search(r"(?m)^(torch|nvidia|triton)", (PACKAGE / "requirements.lock").read_text())
    assert re.search(r"(?m)^torch==", (PACKAGE / "requirements-torch.lock").read_text())


def test_the_package_itself_loads_no_torch() -> None:
    code = "import sys, fivestage_distributed; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
