from pathlib import Path

import pytest

from tools.tests.exported import export


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as a folder without git history, which copier renders fastest."""
    return export(tmp_path_factory.mktemp("template"))
