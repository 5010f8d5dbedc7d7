"""A few lines of C where Python is too slow: built with the library's wheel, or done without.

`setuptools` compiles each source into the package's own folder (`ext-modules` in pyproject.toml). Where there
was no compiler, the same is done in Python.
"""

import ctypes
import logging
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

logger = logging.getLogger("core")


@cache
def library(source: Path) -> ctypes.PyDLL | None:
    """The library that was compiled from a source.

    Its functions are called with Python's lock held, so that nothing they look at changes meanwhile.

    Args:
        source: a C file of this package, such as `windows.c`.

    Returns:
        The library beside it, such as `_windows.cpython-311-x86_64-linux-gnu.so`; None, said in the log,
        where it was not built or cannot be loaded.
    """
    why = "no C compiler was there when fivestage was installed"
    for suffix in EXTENSION_SUFFIXES:
        built = source.with_name(f"_{source.stem}{suffix}")
        if built.exists():
            try:
                return ctypes.PyDLL(str(built))
            except OSError as error:
                why = str(error)
    logger.warning("%s is done without, which is slower: %s", source.name, why)
    return None
