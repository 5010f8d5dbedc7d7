"""The GitHub of tests/ci serves the workflows too."""

from tests.ci.conftest import github

__all__ = ["github"]
