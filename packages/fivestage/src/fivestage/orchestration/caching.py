"""What a step's result depends on beside its inputs and its own lines: code it calls, pinned libraries."""

from zenml.config.cache_policy import CachePolicy
from zenml.utils.source_utils import resolve

from fivestage.common.files import digest_of_files
from fivestage.common.settings import ROOT
from fivestage.orchestration import materializers  # noqa: F401 - what hashes frames and records
from fivestage.orchestration.lineage import DATA_PACKAGES, code_digest, lock_digest


def data_version() -> str:
    """Hash of what prepared data depend on: the problem but for its models, the library's part, the lock."""
    return code_digest(DATA_PACKAGES, without=["candidates.py"]) + lock_digest()


def model_version() -> str:
    """Hash of what a model depends on: the problem, the library's part in it, the lock."""
    return code_digest() + lock_digest()


def gates_version() -> str:
    """Hash of what a verdict depends on: all that a model does, and the project's steps with their gates."""
    return model_version() + digest_of_files(ROOT, (ROOT / "steps").rglob("*.py"))


# An input whose materializer hashes it counts by content: a step that runs again and makes the same data
# leaves the steps after it cached.
DATA_CACHE = CachePolicy(cache_func=resolve(data_version))
MODEL_CACHE = CachePolicy(cache_func=resolve(model_version))
GATES_CACHE = CachePolicy(cache_func=resolve(gates_version))
