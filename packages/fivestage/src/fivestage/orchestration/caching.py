"""Cache keys of steps: their results also depend on the code that they call, and on pinned libraries."""

from zenml.config.cache_policy import CachePolicy
from zenml.utils.source_utils import resolve

from fivestage.common.files import digest_of_files
from fivestage.common.settings import ROOT
from fivestage.orchestration import materializers  # noqa: F401 - registers those that hash frames
from fivestage.orchestration.lineage import DATA_PACKAGES, code_digest, lock_digest


def data_version() -> str:
    """Hash of what prepared data depend on: the problem without candidates, the library's part, the lock."""
    return code_digest(DATA_PACKAGES, without=["candidates.py"]) + lock_digest()


def model_version() -> str:
    """Hash of what a model depends on: the problem, the library's part in training, the lock."""
    return code_digest() + lock_digest()


def gates_version() -> str:
    """Hash of what the gates' results depend on: everything that a model does, and the project's steps."""
    return model_version() + digest_of_files(ROOT, (ROOT / "steps").rglob("*.py"))


# Inputs that their materializer hashes are compared by content: if a step runs again with the same result,
# the steps after it stay cached.
DATA_CACHE = CachePolicy(cache_func=resolve(data_version))
MODEL_CACHE = CachePolicy(cache_func=resolve(model_version))
GATES_CACHE = CachePolicy(cache_func=resolve(gates_version))
