"""The lineage of a model version, as hashes: raw data, contract, code, pinned libraries."""

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
    """The lineage of a version that is trained now.

    Args:
        data: SHA-256 of the raw data.
        contract: the problem's contract.

    Returns:
        The digests of the data, the contract, the lock and the code.
    """
    return Lineage(data, contract.digest, lock_digest(), code_digest())


def code_digest(packages: Sequence[str] = MODEL_PACKAGES, without: Sequence[str] = ()) -> str:
    """SHA-256 of the code that a version depends on: the problem, and packages of the library.

    The digest does not depend on where the project and the library are installed.

    Args:
        packages: packages of the library to include.
        without: files of `problem/` to leave out.

    Returns:
        64 hexadecimal digits.
    """
    library = [path for name in packages for path in (LIBRARY / name).rglob("*.py")]
    folder = ROOT / "problem"
    problem = {*folder.rglob("*.py"), folder / "problem.yaml"}.difference(folder / name for name in without)
    both = digest_of_files(LIBRARY, library) + digest_of_files(ROOT, problem)
    return hashlib.sha256(both.encode()).hexdigest()


def project_digest() -> str:
    """SHA-256 of all code that a project's results and reports depend on, with the library and the lock.

    Returns:
        64 hexadecimal digits.
    """
    library = [path for kind in ("*.py", "*.c", "*.j2") for path in LIBRARY.rglob(kind)]
    own = [path for part in OWN_CODE for path in sorted((ROOT / part).rglob("*")) if path.suffix in SOURCES]
    both = digest_of_files(LIBRARY, library) + digest_of_files(ROOT, [ROOT / "run.py", *own]) + lock_digest()
    return hashlib.sha256(both.encode()).hexdigest()


def lock_digest() -> str:
    """SHA-256 of requirements.lock."""
    return digest_of_files(ROOT, [ROOT / "requirements.lock"])
