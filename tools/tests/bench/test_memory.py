"""The peak memory is that of the process itself."""

import subprocess
import sys

from fivestage.common.settings import ROOT
from tools.bench.memory import peak_bytes

MIB = 2**20


def test_the_peak_is_what_was_held_once() -> None:
    before = peak_bytes()
    held = bytearray(before + 100 * MIB)
    del held
    assert peak_bytes() > before + 100 * MIB


def test_a_process_is_not_charged_with_what_the_one_that_started_it_holds() -> None:
    held = bytearray(500 * MIB)
    program = "from tools.bench.memory import peak_bytes; print(peak_bytes())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True)
    assert int(done.stdout) < len(held)
