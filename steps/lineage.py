"""What a version is made from, as hashes: raw data, code, pinned libraries."""

from core.files import digest_of_files
from core.settings import ROOT
from problem.dataset import digest
from steps.caching import depends_on

MODEL_ROOMS = ("core", "problem", "serving", "monitoring", "steps/data", "steps/model")


def data_digest() -> str:
    """SHA-256 of the raw data."""
    return digest()


def code_digest() -> str:
    """SHA-256 of the code that makes a version, and of the lock."""
    return digest_of_files(ROOT, (ROOT / name for name in depends_on(*MODEL_ROOMS).file_dependencies or ()))


def lock_digest() -> str:
    """SHA-256 of the lock."""
    return digest_of_files(ROOT, [ROOT / "requirements.lock"])
