"""A few lines of C where Python is too slow: compiled once on a machine, or done without.

`python -m fivestage.common.native FILE.c ...` compiles ahead, beside the source, for images without compiler.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from fivestage.common.settings import VAR

FLAGS = ("-O3", "-fPIC", "-shared")
logger = logging.getLogger("core")


@cache
def library(source: Path) -> ctypes.PyDLL | None:
    """The compiled source, found or compiled now; None, said in the log, where there is no compiler.

    Its functions are called with Python's lock held, so that nothing they look at changes meanwhile.
    """
    name = library_name(source)
    try:
        for folder in (source.parent, VAR / "cache"):
            if (folder / name).exists():
                return ctypes.PyDLL(str(folder / name))
        return ctypes.PyDLL(str(compile_into(VAR / "cache", source)))
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("%s is done without, which is slower: %s", source.name, error)
        return None


def library_name(source: Path) -> str:
    """The compiled file's name: another source or machine, another name."""
    made_with = " ".join((*FLAGS, platform.system(), platform.machine()))
    digest = hashlib.sha256(source.read_bytes() + made_with.encode()).hexdigest()
    return f"{source.stem}-{digest[:16]}.so"


def compile_into(folder: Path, source: Path) -> Path:
    """Compile the source and return the file, whole or not at all.

    Raises:
        OSError: without a compiler, or a folder that can be written.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise FileNotFoundError("no C compiler (cc) is installed")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        built = Path(scratch) / "built.so"
        command = [compiler, *FLAGS, "-o", str(built), str(source)]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 (our own source)
        return built.replace(folder / library_name(source))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        compile_into(Path(name).parent, Path(name))
