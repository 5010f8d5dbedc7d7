import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from sqlalchemy import create_engine, text
from zenml import pipeline, step
from zenml.client import Client
from zenml.integrations.integration import Integration
from zenml.utils import source_utils

from fivestage.common.settings import MLFLOW_DATABASE, ZENML_DATABASE
from fivestage.evaluation.gates import Probe
from fivestage.orchestration.databases import open_stores
from fivestage.orchestration.materializers import FrameMaterializer


@pytest.fixture(autouse=True)
def stores() -> None:
    open_stores()


@step(enable_cache=False)
def nothing() -> None:
    pass


@pipeline(enable_step_logs=False)
def empty() -> None:
    nothing()


PROBE = Probe("future is unseen", passed=True, sentence="no feature changed")  # a dataclass


@step(enable_cache=False)
def record() -> Probe:
    return PROBE


@pipeline(enable_step_logs=False)
def one_record() -> None:
    record()


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Integrations whose distributions are looked for."""
    found: list[str] = []

    def check(integration: type[Integration]) -> bool:
        found.append(integration.NAME)
        return False

    monkeypatch.setattr(Integration, "check_installation", classmethod(check))
    return found


def test_a_second_run_does_not_inspect_the_installed_distributions_again(scans: list[str]) -> None:
    empty()
    scans.clear()
    empty()
    assert not scans


def test_a_second_run_derives_the_schema_of_a_record_for_its_metadata_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one_record()
    derived: list[Any] = []
    derive = TypeAdapter.json_schema

    def counted(adapter: TypeAdapter[Any], **options: Any) -> Any:
        derived.append(adapter)
        return derive(adapter, **options)

    monkeypatch.setattr(TypeAdapter, "json_schema", counted)
    run = one_record()
    assert run is not None
    assert len(derived) == 1
    assert run.steps["record"].output.load() == PROBE


def test_each_run_keeps_the_list_of_installed_packages() -> None:
    for run in (empty(), empty()):
        assert run is not None
        store: Any = Client().zen_store  # its interface does not name the option
        kept = store.get_run(run.id, include_python_packages=True)
        assert "zenml==" in kept.client_environment["python_packages"]


def test_classes_of_the_library_are_named_and_imported_once() -> None:
    source = source_utils.resolve(FrameMaterializer)
    assert source.import_path == "fivestage.orchestration.materializers.FrameMaterializer"
    assert source_utils.load(source) is FrameMaterializer
    assert not any(name.startswith("packages.fivestage.src") for name in sys.modules)


@pytest.mark.parametrize("store", [ZENML_DATABASE, MLFLOW_DATABASE])
def test_the_stores_keep_a_write_ahead_log(store: Path) -> None:
    with sqlite3.connect(store) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_database_of_the_user_stays_as_it_is(tmp_path: Path) -> None:
    with create_engine(f"sqlite:///{tmp_path / 'own.db'}").connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "delete"
