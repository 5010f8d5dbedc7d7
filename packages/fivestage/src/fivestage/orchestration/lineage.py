"""What a version is made from, as hashes: raw data, code, pinned libraries."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from fivestage.artifact.artifact import Lineage
from fivestage.common.files import digest_of_files
from fivestage.common.settings import ROOT
from fivestage.contract.contract import Contract

LIBRARY = Path(__file__).resolve().parents[1]
DATA_PACKAGES = ("common", "contract", "features", "data")
MODEL_PACKAGES = (*DATA_PACKAGES, "artifact", "evaluation", "training")
OWN_CODE = ("problem", "pipelines", "steps", "serving", "monitoring")
SOURCES = (".py", ".yaml", ".yml", ".json")


def lineage_of(data: str, contract: Contract) -> Lineage:
    """What a version trained here and now is made from.

    Args:
        data: SHA-256 of the raw data.
        contract: the problem's contract.

    Returns:
        These two, the lock and the code, each as a digest.
    """
    return Lineage(data, contract.digest, lock_digest(), code_digest())


def code_digest(packages: Sequence[str] = MODEL_PACKAGES, without: Sequence[str] = ()) -> str:
    """SHA-256 of the code that makes a version: the problem, and the library's part in it.

    The same code gives the same digest wherever the project and the library are installed.

    Args:
        packages: The library's packages that count.
        without: Files of `problem/` that do not count.

    Returns:
        64 hexadecimal digits.
    """
    library = [path for name in packages for path in (LIBRARY / name).rglob("*.py")]
    folder = ROOT / "problem"
    problem = {*folder.rglob("*.py"), folder / "problem.yaml"}.difference(folder / name for name in without)
    both = digest_of_files(LIBRARY, library) + digest_of_files(ROOT, problem)
    return hashlib.sha256(both.encode()).hexdigest()


def project_digest() -> str:
    """SHA-256 of all code that a project's results and reports come from, the library and the lock included.

    Returns:
        64 hexadecimal digits.
    """
    library = [path for kind in ("*.py", "*.c", "*.j2") for path in LIBRARY.rglob(kind)]
    own = [path for part in OWN_CODE for path in sorted((ROOT / part).rglob("*")) if path.suffix in SOURCES]
    both = digest_of_files(LIBRARY, library) + digest_of_files(ROOT, [ROOT / "run.py", *own]) + lock_digest()
    return hashlib.sha256(both.encode()).hexdigest()


def lock_digest() -> str:
    """SHA-256 of the lock."""
    return digest_of_files(ROOT, [ROOT / "requirements.lock"])
