"""Adjust ZenML and MLflow to a project on one machine; each change has its reason."""

import importlib.metadata
import sqlite3
from functools import cache
from typing import Any

from sqlalchemy import Engine, event
from zenml.environment import Environment
from zenml.integrations.registry import integration_registry
from zenml.materializers import DataclassMaterializer
from zenml.utils import source_code_utils, source_utils

from fivestage.common.settings import MLFLOW_DATABASE, ZENML_DATABASE

_LIBRARY = "fivestage"
_is_distribution_package_file = source_utils.is_distribution_package_file


@cache
def adjust_stores() -> None:
    """Apply the changes of this module, once per process.

    - ZenML reads the metadata of all installed distributions whenever it compiles a pipeline or names a class
      of a distribution, starts a program that lists them for each run and step, parses the file of each
      output's materializer, and derives the JSON schema of each output that is a dataclass several times:
      more than half of the CPU of a small run. The results are cached for the process.
    - If this library is installed as editable from a folder of the project, ZenML would name its classes by
      their path, and import the library a second time under that name. It counts as a distribution instead.
    - The stores commit dozens of times per run; with a write-ahead log, commits do not wait for the disk.
    """
    zenml: Any = source_utils
    zenml.is_distribution_package_file = _is_installed
    for owner, name in (
        (integration_registry, "activate_integrations"),
        (Environment, "get_python_packages"),
        (source_code_utils, "get_hashed_source_code"),
        (importlib.metadata, "packages_distributions"),  # ZenML imports it in each call
    ):
        setattr(owner, name, cache(getattr(owner, name)))
    for name in ("can_save_type", "can_load_type"):  # static, as ZenML also calls them on instances
        setattr(DataclassMaterializer, name, staticmethod(cache(getattr(DataclassMaterializer, name))))
    event.listen(Engine, "connect", _use_write_ahead_log)


def _is_installed(file_path: str, module_name: str) -> bool:
    return module_name.partition(".")[0] == _LIBRARY or _is_distribution_package_file(file_path, module_name)


def _use_write_ahead_log(connection: object, _: object) -> None:
    """Commits survive the end of the process; a power cut may lose the last ones, but not the database."""
    if not isinstance(connection, sqlite3.Connection):
        return
    file = connection.execute("PRAGMA database_list").fetchone()[2]
    if file in (str(MLFLOW_DATABASE), str(ZENML_DATABASE)):  # a user's own files stay as they are
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
