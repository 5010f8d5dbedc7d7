"""What a version is made from, as hashes: raw data, code, pinned libraries."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from fivestage.common.files import digest_of_files
from fivestage.common.settings import ROOT

LIBRARY = Path(__file__).resolve().parents[1]
DATA_PACKAGES = ("common", "contract", "features", "data")
MODEL_PACKAGES = (*DATA_PACKAGES, "artifact", "evaluation", "training")


def code_digest(packages: Sequence[str] = MODEL_PACKAGES) -> str:
    """SHA-256 of the code that makes a version: the problem, and the library's part in it.

    The same code gives the same digest wherever the project and the library are installed.

    Args:
        packages: The library's packages that count.

    Returns:
        64 hexadecimal digits.
    """
    library = [path for name in packages for path in (LIBRARY / name).rglob("*.py")]
    problem = [*(ROOT / "problem").rglob("*.py"), ROOT / "problem" / "problem.yaml"]
    both = digest_of_files(LIBRARY, library) + digest_of_files(ROOT, problem)
    return hashlib.sha256(both.encode()).hexdigest()


def lock_digest() -> str:
    """SHA-256 of the lock.

    Returns:
        64 hexadecimal digits.
    """
    return digest_of_files(ROOT, [ROOT / "requirements.lock"])
