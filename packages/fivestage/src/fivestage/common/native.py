"""Optional C extensions for the few places where Python is too slow.

`setuptools` compiles each source into its package's folder (`ext-modules` in pyproject.toml). Without a
compiler, callers fall back to Python.
"""

import ctypes
import logging
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

logger = logging.getLogger("core")


@cache
def library(source: Path, function: str) -> ctypes.PyDLL | None:
    """Load the shared library that was compiled from a C source.

    Its functions run with the GIL held, so the data they read cannot change meanwhile.

    Args:
        source: a C file of this package, such as `windows.c`.
        function: the function that is called; a library built from an older source may lack it.

    Returns:
        The library next to the source, such as `_windows.cpython-311-x86_64-linux-gnu.so`. None, with a
        warning in the log, if it was not built, cannot be loaded or lacks the function.
    """
    reason = "there was no C compiler when fivestage was installed"
    for suffix in EXTENSION_SUFFIXES:
        built = source.with_name(f"_{source.stem}{suffix}")
        if built.exists():
            try:
                loaded = ctypes.PyDLL(str(built))
                getattr(loaded, function)
            except (OSError, AttributeError) as error:
                reason = str(error)
            else:
                return loaded
    logger.warning("%s is replaced by slower Python code: %s", source.name, reason)
    return None
