"""The stores of ZenML and MLflow, which a first run makes and a killed first run must not spoil."""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

import yaml
from mlflow.tracking import MlflowClient
from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.models import UserUpdate

from fivestage.common.errors import UserError
from fivestage.common.settings import MLFLOW_DATABASE, VAR, ZENML_DATABASE


def open_stores() -> None:
    """Connect to both stores, so that whatever comes next finds them complete.

    Making one takes seconds and hundreds of statements; a process killed among them leaves tables that
    neither library can read or mend. Stores elsewhere than under `var/` are the user's, and left alone. A
    project that was moved goes on from where it is.
    """
    with (VAR / "stores.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _follow_move(lock)
        _connect(ZENML_DATABASE, _open_zenml, ours=str(ZENML_DATABASE) in os.environ["ZENML_STORE_URL"])
        _connect(
            MLFLOW_DATABASE, _open_mlflow, ours=str(MLFLOW_DATABASE) in os.environ["MLFLOW_TRACKING_URI"]
        )


def use_stack(file: Path) -> None:
    """Run pipelines on the stack that a file describes: made, or changed where ZenML knows it otherwise.

    Raises:
        UserError: when the file cannot be read.
    """
    try:
        described = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"The stack file {file} cannot be read: {error.strerror}.") from error
    client, name = Client(), described["stack_name"]
    parts: dict[StackComponentType, str | UUID] = {
        StackComponentType(kind): _component(client, StackComponentType(kind), one)
        for kind, one in described["components"].items()
    }
    if not client.list_stacks(name=name).items:
        client.create_stack(name, parts)
    client.activate_stack(name)


def _component(client: Client, kind: StackComponentType, one: Mapping[str, Any]) -> UUID:
    for known in client.list_stack_components(type=kind, name=one["name"]).items:
        return client.update_stack_component(known.id, kind, configuration=one["configuration"]).id
    return client.create_stack_component(one["name"], one["flavor"], kind, one["configuration"]).id


def skip_zenml_survey() -> None:
    """Answer no to ZenML's questions for a name, an e-mail address and news: its pages ask them first."""
    client = Client()
    answers = UserUpdate(email_opted_in=False, user_metadata={"finished_onboarding_survey": True})
    client.zen_store.update_user(client.active_user.id, answers)


def _follow_move(lock: TextIO) -> None:
    """Both databases hold absolute paths: rewrite them where the project was moved, or copied, to here."""
    lock.seek(0)
    noted = lock.read()
    if noted == str(VAR):
        return
    if noted:
        for database in (ZENML_DATABASE, MLFLOW_DATABASE):
            if database.exists():
                _replace_text(database, f"{noted}/", f"{VAR}/")
    lock.truncate(0)
    lock.write(str(VAR))


def _replace_text(database: Path, old: str, new: str) -> None:
    """Replace a text in all tables of an SQLite database."""
    with closing(sqlite3.connect(database)) as connection, connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for _, column, *_ in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
                connection.execute(
                    f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) '  # noqa: S608 (its own names)
                    f'WHERE typeof("{column}") = \'text\' AND instr("{column}", ?)',
                    (old, new, old),
                )


def _open_zenml() -> None:
    Client().active_stack_model  # noqa: B018 - reading it makes the store


def _open_mlflow() -> None:
    MlflowClient().search_experiments(max_results=1)


def _connect(store: Path, connect: Callable[[], None], *, ours: bool) -> None:
    """Connect to a database; one of ours whose first connection did not end is made anew."""
    unfinished = VAR / f"{store.name}.unfinished"
    if ours and unfinished.exists():
        for part in store.parent.glob(f"{store.name}*"):  # its journal would be played into the new one
            part.unlink()
    if ours and not store.exists():
        unfinished.touch()
    connect()
    unfinished.unlink(missing_ok=True)
