"""The fake GitHub of tests/ci, for the workflows too."""

from tests.ci.conftest import github

__all__ = ["github"]
