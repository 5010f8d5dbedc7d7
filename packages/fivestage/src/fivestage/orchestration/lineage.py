"""What a version is made from, as hashes: raw data, code, pinned libraries."""

from pathlib import Path

from fivestage.common.files import digest_of_files
from fivestage.common.settings import ROOT

LIBRARY = Path(__file__).resolve().parents[1]
MODEL_PACKAGES = ("common", "contract", "features", "data", "artifact", "evaluation", "training")


def code_digest() -> str:
    """SHA-256 of the code that makes a version: the problem, and the library's part in it."""
    code = [path for name in MODEL_PACKAGES for path in (LIBRARY / name).rglob("*.py")]
    return digest_of_files(
        Path("/"), [*code, *(ROOT / "problem").glob("*.py"), ROOT / "problem" / "problem.yaml"]
    )


def lock_digest() -> str:
    """SHA-256 of the lock."""
    return digest_of_files(ROOT, [ROOT / "requirements.lock"])
