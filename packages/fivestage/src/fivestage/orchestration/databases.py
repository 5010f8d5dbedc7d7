"""The databases of ZenML and MLflow: created by the first run, and created again if that was interrupted."""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

import mlflow
import yaml
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.models import UserUpdate

from fivestage.common.database import unanswered
from fivestage.common.errors import UserError
from fivestage.common.settings import MLFLOW_DATABASE, VAR, ZENML_DATABASE


def open_stores() -> None:
    """Connect to both databases, and create those that do not exist.

    Creating one takes seconds and hundreds of statements; a process that is killed meanwhile leaves tables
    that neither library can read or repair. Databases outside `var/` belong to the user and are left alone.
    If the project was moved, paths in the databases are updated.
    """
    with (VAR / "stores.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _follow_move(lock)
        _connect(ZENML_DATABASE, _open_zenml, ours=str(ZENML_DATABASE) in os.environ["ZENML_STORE_URL"])
        _connect(
            MLFLOW_DATABASE, _open_mlflow, ours=str(MLFLOW_DATABASE) in os.environ["MLFLOW_TRACKING_URI"]
        )


def use_stack(file: Path) -> None:
    """Run pipelines on the stack that a file describes, with $NAMES from the environment; update it first.

    Raises:
        UserError: when the file cannot be read.
    """
    try:
        described = yaml.safe_load(os.path.expandvars(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"The stack file {file} cannot be read: {error.strerror}.") from error
    client, name = Client(), described["stack_name"]
    components: dict[StackComponentType, str | UUID] = {
        StackComponentType(kind): _component(client, StackComponentType(kind), component)
        for kind, component in described["components"].items()
    }
    if not client.list_stacks(name=name).items:
        client.create_stack(name, components)
    client.activate_stack(name)


def _component(client: Client, kind: StackComponentType, component: Mapping[str, Any]) -> UUID:
    name, configuration = component["name"], component["configuration"]
    for existing in client.list_stack_components(type=kind, name=name).items:
        return client.update_stack_component(existing.id, kind, configuration=configuration).id
    return client.create_stack_component(name, component["flavor"], kind, configuration).id


def skip_zenml_survey() -> None:
    """Decline ZenML's survey about name, e-mail address and news, which its dashboard would show first."""
    client = Client()
    answers = UserUpdate(email_opted_in=False, user_metadata={"finished_onboarding_survey": True})
    client.zen_store.update_user(client.active_user.id, answers)


def _follow_move(lock: TextIO) -> None:
    """Update the absolute paths in both databases if the project was moved or copied."""
    lock.seek(0)
    previous = lock.read()
    if previous == str(VAR):
        return
    if previous:
        for database in (ZENML_DATABASE, MLFLOW_DATABASE):
            if database.exists():
                _replace_text(database, f"{previous}/", f"{VAR}/")
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
    Client().active_stack_model  # noqa: B018 - reading it creates the database


def _open_mlflow() -> None:
    try:
        MlflowClient().search_experiments(max_results=1)
    except MlflowException as error:
        raise unanswered(mlflow.get_tracking_uri(), error) from error


def _connect(store: Path, connect: Callable[[], None], *, ours: bool) -> None:
    """Connect to a database; one of ours is created again if its first connection was interrupted."""
    unfinished = VAR / f"{store.name}.unfinished"
    if ours and unfinished.exists():
        for part in store.parent.glob(f"{store.name}*"):  # its journal would be applied to the new one
            part.unlink()
    if ours and not store.exists():
        unfinished.touch()
    connect()
    unfinished.unlink(missing_ok=True)
