"""Batch scoring: a CSV or Parquet file, or a table of a database, in and out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sqlalchemy import Engine, MetaData, Table, inspect
from sqlalchemy.exc import SQLAlchemyError

from fivestage.artifact.artifact import Artifact
from fivestage.artifact.engine import predict_table
from fivestage.artifact.predictions import form_of
from fivestage.common.database import connect, named
from fivestage.common.errors import UserError
from fivestage.common.files import write_whole
from fivestage.contract.contract import Contract, TimestampColumn
from fivestage.data.event_tables import EventTables
from fivestage.data.validation import validate, write_quarantine
from fivestage.features.problem import Problem


@dataclass(frozen=True)
class BatchResult:
    """What came of a batch."""

    rows: int
    decisions: dict[str, int]  # rows by what was decided; empty for numbers
    quarantined: int
    quarantine: str


def score(
    problem: Problem,
    world: EventTables,
    artifact: Artifact,
    version: str,
    source: str,
    target: str,
    quarantine: Path,
) -> BatchResult:
    """Score a batch; rows that break the contract go to a file of their own, with reasons.

    That file lies beside the target, or in the folder `quarantine` where the target is a table.

    Raises:
        UserError: when the batch cannot be read or written, or would be written over itself.
    """
    if source == target:
        raise UserError(f"{named(source)} cannot be scored onto itself: name another output.")
    contract = problem.contract
    own = problem.read_batch(source, contract)
    rows = read_batch(source) if own is None else own
    rows = with_moments(rows, contract, named(source))
    checked = validate(rows, contract.columns, contract.identity, named(source), rules=contract.rules)
    good = checked.good
    at = good[contract.decision.time_column].to_numpy(dtype=np.int64) - contract.decision.lead_seconds
    past = problem.features.offline_store(world.events, artifact.reference)
    form = form_of(artifact.contract)
    forecast = (
        predict_table(artifact, problem.features, good, past, at)
        if len(good)
        else np.empty((0, len(form.columns)))
    )
    numbers = forecast.reshape(len(good), len(form.columns))
    decided = artifact.decide(forecast) if len(good) else np.empty(0, dtype=np.int64)
    told = form.decided(decided)
    counts = pd.Series(told).value_counts() if told.dtype.kind == "O" else pd.Series(dtype=np.int64)
    found = dict(zip(form.columns, numbers.T, strict=True)) | {"decision": told}
    answers = good.assign(**found, model_version=version)
    for name, column in contract.columns.items():
        if isinstance(column, TimestampColumn):
            answers[name] = pd.to_datetime(answers[name], unit="s", utc=True)
    refused = quarantine / "scoring.csv" if "://" in target else Path(f"{target}.quarantine.csv")
    write_quarantine(checked.quarantined, refused)  # first: no row may be in neither place
    write_batch(answers, target)
    return BatchResult(
        rows=len(good),
        decisions={str(name): int(rows) for name, rows in counts.items()},
        quarantined=len(checked.quarantined),
        quarantine=str(refused),
    )


def with_moments(frame: pd.DataFrame, contract: Contract, source: str) -> pd.DataFrame:
    """Moments written in ISO 8601 with their zone, as epoch seconds; what is not one is left to validation.

    Raises:
        UserError: when a column of moments is missing.
    """
    found = frame.copy()
    for name, column in contract.columns.items():
        if not isinstance(column, TimestampColumn):
            continue
        if name not in frame:
            raise UserError(f"{source} has no column {name}. Add it, or take it out of problem.yaml.")
        if pd.api.types.is_numeric_dtype(frame[name]):
            continue
        text = frame[name].astype("str")
        zoned = text.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", regex=True, na=False)
        moments = pd.to_datetime(text.where(zoned), utc=True, errors="coerce", format="ISO8601")
        seconds = (moments - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(seconds=1)
        found[name] = seconds.astype(object).where(moments.notna(), text)
    return found


def read_batch(source: str) -> pd.DataFrame:
    """Rows of `file.csv`, `file.parquet`, or `database-url#table`.

    Raises:
        UserError: when they cannot be read.
    """
    try:
        if "://" in source:
            url, _, table = source.partition("#")
            return pd.read_sql_table(table, connect(url))
        path = Path(source)
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, keep_default_na=False, na_values=[""])  # NA may be somebody's code
    except (OSError, ValueError, ImportError, SQLAlchemyError) as error:
        raise UserError(f"{named(source)} cannot be read as rows: {' '.join(str(error).split())}") from error


def write_batch(answers: pd.DataFrame, target: str) -> None:
    """Write answers whole or not at all, in the form that the target's name asks for; a table must be new.

    Raises:
        UserError: when they cannot be written.
    """
    try:
        if "://" in target:
            url, _, table = target.partition("#")
            _fill_table(connect(url), table, answers)
            return
        path = Path(target)
        write = answers.to_parquet if path.suffix == ".parquet" else answers.to_csv
        write_whole(path, lambda scratch: write(scratch, index=False))
    except (OSError, ValueError, ImportError, SQLAlchemyError) as error:
        raise UserError(f"{named(target)} cannot be written: {' '.join(str(error).split())}") from error


def _fill_table(database: Engine, table: str, answers: pd.DataFrame) -> None:
    """Make a table and fill it, or leave none: SQLite keeps one whose filling has failed."""
    if inspect(database).has_table(table):
        raise ValueError(f"the table {table} already exists, name a new one")
    try:
        with database.begin() as connection:
            answers.to_sql(table, connection, index=False)
    except BaseException:
        Table(table, MetaData()).drop(database, checkfirst=True)
        raise
