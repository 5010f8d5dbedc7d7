"""What a version is made from, as hashes: raw data, code, pinned libraries."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from core.settings import ROOT
from problem.raw import raw_folder
from steps.caching import depends_on

MODEL_ROOMS = ("core", "problem", "serving", "monitoring", "steps/data", "steps/model")


def data_digest() -> str:
    """SHA-256 of the raw data files."""
    folder = raw_folder()
    return _digest(folder, (path for path in folder.iterdir() if path.is_file()))


def code_digest() -> str:
    """SHA-256 of the code that makes a version, and of the lock."""
    return _digest(ROOT, (ROOT / name for name in depends_on(*MODEL_ROOMS).file_dependencies or ()))


def lock_digest() -> str:
    """SHA-256 of the lock."""
    return _digest(ROOT, [ROOT / "requirements.lock"])


def _digest(root: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
