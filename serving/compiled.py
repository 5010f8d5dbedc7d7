"""The tables of `trees.py` run by a few lines of C: compiled once for the project, whatever the model.

`python -m serving.compiled serving` compiles ahead, for an image without a compiler.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.columns import Floats
from core.settings import VAR
from serving.trees import Forest

SOURCE = Path(__file__).with_name("trees.c")
FLAGS = ("-O3", "-fPIC", "-shared")
logger = logging.getLogger("serving")


class _Forest(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("features", "trees", "leaves", "outputs")),
        *((name, ctypes.c_void_p) for name in ("first", "category", "thresholds", "alive", "values")),
        *((name, ctypes.c_void_p) for name in ("ends", "bases")),
    )


class CompiledForest:
    """A forest's margins, as many as it has outputs; used from one thread at a time."""

    def __init__(self, forest: Forest, library: ctypes.PyDLL) -> None:
        tables = (forest.first, forest.category, forest.thresholds, forest.alive, forest.values)
        self._arrays = (*tables, forest.ends, forest.bases)
        features, (trees, leaves), outputs = len(forest.category), forest.values.shape, len(forest.ends)
        addresses = (_address(one) for one in self._arrays)
        self._struct = _Forest(features, trees, leaves, outputs, *addresses)
        self._scratch = np.empty(trees, dtype=forest.alive.dtype)
        self._row, self._out = np.empty(features), np.empty(outputs)
        self._shape = () if outputs == 1 else (outputs,)
        self._read: Callable[[], Any] = self._out.item if outputs == 1 else self._out.tolist
        self._fill = struct.Struct(f"{features}d").pack_into
        self._function = library.margins32 if forest.alive.itemsize == 4 else library.margins64  # noqa: PLR2004 (bytes)
        self._function.argtypes = (ctypes.c_void_p,) * 2 + (ctypes.c_int64,) + (ctypes.c_void_p,) * 2
        self._function.restype = None
        self._forest, self._temporary = ctypes.addressof(self._struct), _address(self._scratch)
        self._one = (self._forest, _address(self._row), 1, self._temporary, _address(self._out))

    def margin(self, values: Sequence[float]) -> Any:
        """The margin of one row: a number, or a list of one for each output."""
        self._fill(self._row.data, 0, *values)
        self._function(*self._one)
        return self._read()

    def margins(self, rows: Floats) -> Floats:
        """The margins of rows x features: one a row, or rows x outputs."""
        rows = np.ascontiguousarray(rows, dtype=np.float64)
        out = np.empty((len(rows), *self._shape))
        self._function(self._forest, _address(rows), len(rows), self._temporary, _address(out))
        return out


def _address(array: NDArray[Any]) -> int:
    return array.ctypes.data


@cache
def library() -> ctypes.PyDLL | None:
    """The compiled code, found or compiled now; None, said in the log, where there is no compiler."""
    name = library_name()
    try:
        for folder in (SOURCE.parent, VAR / "cache"):
            if (folder / name).exists():
                return ctypes.PyDLL(str(folder / name))
        return ctypes.PyDLL(str(compile_into(VAR / "cache")))
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("the trees run without compiled code, some twenty times slower: %s", error)
        return None


def library_name() -> str:
    """The compiled file's name: another source or machine, another name."""
    made_with = " ".join((*FLAGS, platform.system(), platform.machine()))
    digest = hashlib.sha256(SOURCE.read_bytes() + made_with.encode()).hexdigest()
    return f"trees-{digest[:16]}.so"


def compile_into(folder: Path) -> Path:
    """Compile the source and return the file, whole or not at all.

    Raises:
        OSError: without a compiler, or a folder that can be written.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise FileNotFoundError("no C compiler (cc) is installed")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        built = Path(scratch) / "trees.so"
        command = [compiler, *FLAGS, "-o", str(built), str(SOURCE)]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 (our own source)
        return built.replace(folder / library_name())


if __name__ == "__main__":
    compile_into(Path(sys.argv[1]) if len(sys.argv) > 1 else VAR / "cache")
