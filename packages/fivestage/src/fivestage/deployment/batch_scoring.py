"""Batch scoring: rows of a CSV or Parquet file or a table of a database in, the same with predictions out."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from sqlalchemy import Engine, MetaData, Table, inspect
from sqlalchemy.exc import SQLAlchemyError

from fivestage.artifact.artifact import Artifact, load_artifact
from fivestage.artifact.engine import predict_table
from fivestage.artifact.predictions import form_of
from fivestage.common.columns import Floats, Ints
from fivestage.common.database import connect, redacted
from fivestage.common.errors import UserError
from fivestage.common.files import write_whole
from fivestage.contract.contract import Contract, NumberColumn, TimestampColumn
from fivestage.contract.cost_model import cost_model_of
from fivestage.data.event_tables import EventTables
from fivestage.data.timestamps import parse_timestamps
from fivestage.data.validation import validate, write_quarantine
from fivestage.features.problem import Problem
from fivestage.registry.versions import ModelRegistry


class BatchModel(Protocol):
    """A registered model as a batch needs it."""

    @property
    def contract(self) -> Contract:
        """The contract that it was trained for."""
        ...

    def forecast(self, problem: Problem, rows: pd.DataFrame, events: EventTables, at: Ints) -> Floats:
        """Calibrated forecasts of rows, from what was known at their decision times (epoch seconds)."""
        ...


@dataclass(frozen=True)
class ArtifactModel:
    """An artifact as a batch needs it."""

    artifact: Artifact

    @property
    def contract(self) -> Contract:
        """The contract that it was trained for."""
        return self.artifact.contract

    def forecast(self, problem: Problem, rows: pd.DataFrame, events: EventTables, at: Ints) -> Floats:
        """See `BatchModel`."""
        past = problem.features.offline_store(events.events, self.artifact.reference)
        return predict_table(self.artifact, problem.features, rows, past, at)


@dataclass(frozen=True)
class BatchResult:
    """How many rows of a batch were scored."""

    rows: int  # rows scored
    decisions: dict[str, int]  # rows by decision; empty for regression, whose decisions are numbers
    quarantined: int  # rows that break the contract
    quarantine: str  # path of the file that holds them, with reasons


def score(
    problem: Problem,
    events: EventTables,
    model: BatchModel,
    version: str,
    source: str,
    target: str,
    quarantine: Path,
) -> BatchResult:
    """Score a batch; rows that break the contract go to a file of their own, with reasons."""
    if source == target:
        raise UserError(f"{redacted(source)} cannot be scored onto itself: name another output.")
    contract = problem.contract
    rows = problem.read_batch(source, contract)
    rows = parse_timestamps(read_batch(source) if rows is None else rows, contract, redacted(source))
    checked = validate(rows, contract.columns, contract.identity, redacted(source), rules=contract.rules)
    good, form = checked.good, form_of(model.contract)
    at = good[contract.decision.time_column].to_numpy(dtype=np.int64) - contract.decision.lead_seconds
    predictions, decisions = np.empty((0, len(form.columns))), np.empty(0, dtype=object)
    if len(good):
        predictions = model.forecast(problem, good, events, at)
        decisions = form.decided(cost_model_of(model.contract.costs).decide(predictions))
    numbers = predictions.reshape(len(good), len(form.columns))
    columns = dict(zip(form.columns, numbers.T, strict=True)) | {"decision": decisions}
    answers = good.assign(**columns, model_version=version)
    for name, column in contract.columns.items():
        if isinstance(column, TimestampColumn):
            answers[name] = pd.to_datetime(answers[name], unit="s", utc=True)
        elif isinstance(column, NumberColumn) and column.type == "integer":
            answers[name] = answers[name].astype("Int64")  # with gaps it is of floats, and 2 would become 2.0
    refused = quarantine / "scoring.csv" if "://" in target else Path(f"{target}.quarantine.csv")
    write_quarantine(checked.quarantined, refused)  # first: no row may be in neither place
    write_batch(answers, target)
    counts = pd.Series(decisions).value_counts() if decisions.dtype.kind == "O" else pd.Series(dtype=np.int64)
    return BatchResult(
        rows=len(good),
        decisions={str(name): int(count) for name, count in counts.items()},
        quarantined=len(checked.quarantined),
        quarantine=str(refused),
    )


def score_version(
    problem: Problem,
    events: EventTables,
    registry: ModelRegistry,
    version: str,
    source: str,
    target: str,
    quarantine: Path,
) -> BatchResult:
    """Score a batch by a registered version; see `score`.

    Args:
        problem: Whose rows these are.
        events: The events that their features look back at.
        registry: Of the model.
        version: Its number there.
        source: `file.csv`, `file.parquet` or `database-url#table`, or what the problem itself reads.
        target: Where to, in one of these forms; a table must be new.
        quarantine: Folder for the rows that break the contract, where the target is a table.

    Returns:
        The counts of its rows.

    Raises:
        UserError: When the version cannot be read here, or the batch cannot be read or written.
    """
    model = open_model(registry, version)
    return score(problem, events, model, version, source, target, quarantine)


def open_model(registry: ModelRegistry, version: str) -> BatchModel:
    """Return a registered version as a batch needs it."""
    found, folder = registry.find(version), registry.fetch(version)
    if not found.loader:
        return ArtifactModel(load_artifact(folder, found.digest))
    try:
        module = import_module(found.loader)
    except ImportError as error:
        raise UserError(
            f"Version {version} of {registry.name} is read by {found.loader}, which is not installed here "
            f"({error}). Where that is fivestage_distributed, `make setup-distributed` installs it; then run "
            "this again."
        ) from error
    model: BatchModel = module.load(folder)
    return model


def read_batch(source: str) -> pd.DataFrame:
    """Return the rows of `file.csv`, `file.parquet` or `database-url#table`."""
    try:
        if "://" in source:
            url, _, table = source.partition("#")
            return pd.read_sql_table(table, connect(url))
        if source.endswith(".parquet"):
            return pd.read_parquet(source)
        return pd.read_csv(source, keep_default_na=False, na_values=[""])  # NA may be a category
    except (OSError, ValueError, ImportError, SQLAlchemyError) as error:
        raise UserError(
            f"{redacted(source)} cannot be read as rows: {' '.join(str(error).split())}"
        ) from error


def write_batch(answers: pd.DataFrame, target: str) -> None:
    """Write answers whole or not at all, in the form that the target's name asks for."""
    try:
        if "://" in target:
            url, _, table = target.partition("#")
            _write_table(connect(url), table, answers)
            return
        write = answers.to_parquet if target.endswith(".parquet") else answers.to_csv
        write_whole(Path(target), lambda scratch: write(scratch, index=False))
    except (OSError, ValueError, ImportError, SQLAlchemyError) as error:
        raise UserError(f"{redacted(target)} cannot be written: {' '.join(str(error).split())}") from error


def _write_table(database: Engine, table: str, answers: pd.DataFrame) -> None:
    """Create and fill a table, or leave none: SQLite does not roll back its creation."""
    if inspect(database).has_table(table):
        raise ValueError(f"the table {table} already exists, name a new one")
    try:
        with database.begin() as connection:
            answers.to_sql(table, connection, index=False)
    except BaseException:
        Table(table, MetaData()).drop(database, checkfirst=True)
        raise
