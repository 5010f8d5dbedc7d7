"""Batch scoring: read rows from a CSV or Parquet file or a database table and write them with predictions."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

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
from fivestage.data.validation import validate, write_quarantine
from fivestage.features.problem import Problem
from fivestage.registry.versions import ModelRegistry


@dataclass(frozen=True)
class BatchResult:
    """Row counts of a scored batch."""

    rows: int  # rows scored
    decisions: dict[str, int]  # rows per decision; empty for regression, whose decisions are numbers
    quarantined: int  # rows that violate the contract
    quarantine: str  # path of the file with the quarantined rows and the reasons


@dataclass(frozen=True)
class BatchModel:
    """A registered version that scores batches."""

    version: str  # the version's number in the registry
    contract: Contract  # the contract that it was trained on
    # Returns calibrated predictions from what was known at the rows' decision times (epoch seconds).
    forecast: Callable[[Problem, pd.DataFrame, EventTables, Ints], Floats]

    @classmethod
    def of(cls, registry: ModelRegistry, version: str) -> "BatchModel":
        """Load a registered version; raise a `UserError` if its package is not installed here."""
        found, folder = registry.find(version), registry.fetch(version)
        if not found.loader:
            artifact = load_artifact(folder, found.digest)
            return cls(version, artifact.contract, partial(artifact_forecast, artifact))
        try:
            model = import_module(found.loader).load(folder)
        except ImportError as error:
            raise UserError(
                f"Version {version} of {registry.name} is loaded by {found.loader}, which is not installed "
                f"here ({error}). If that is fivestage_distributed, run `make setup-distributed`; then run "
                "this again."
            ) from error
        return cls(version, model.contract, model.forecast)

    def score(
        self, problem: Problem, events: EventTables, source: str, target: str, quarantine: Path
    ) -> BatchResult:
        """Score a batch; write rows that violate the contract to a quarantine file.

        Args:
            problem: The problem that the rows belong to.
            events: The events from which the features are computed.
            source: `file.csv`, `file.parquet`, `database-url#table`, or what the problem itself reads.
            target: The output, in one of these forms; a table must not exist yet.
            quarantine: Folder for the rows that violate the contract, if the target is a table.

        Returns:
            The row counts.

        Raises:
            UserError: If the batch cannot be read or written.
        """
        if source == target:
            raise UserError(f"{redacted(source)} cannot be scored onto itself: name another output.")
        contract = problem.contract
        rows = problem.read_batch(source, contract)
        rows = read_batch(source) if rows is None else rows
        checked = validate(rows, contract.columns, contract.identity, redacted(source), rules=contract.rules)
        good, form = checked.good, form_of(self.contract)
        at = good[contract.decision.time_column].to_numpy(dtype=np.int64) - contract.decision.lead_seconds
        predictions, decisions = np.empty((0, len(form.columns))), np.empty(0, dtype=object)
        if len(good):
            predictions = self.forecast(problem, good, events, at)
            decisions = form.decided(cost_model_of(self.contract.costs).decide(predictions))
        numbers = predictions.reshape(len(good), len(form.columns))
        columns = dict(zip(form.columns, numbers.T, strict=True)) | {"decision": decisions}
        answers = good.assign(**columns, model_version=self.version)
        for name, column in contract.columns.items():
            if isinstance(column, TimestampColumn):
                answers[name] = pd.to_datetime(answers[name], unit="s", utc=True)
            elif isinstance(column, NumberColumn) and column.type == "integer":
                # Missing values make the column float: 2 would be written as 2.0.
                answers[name] = answers[name].astype("Int64")
        quarantine_file = quarantine / "scoring.csv" if "://" in target else Path(f"{target}.quarantine.csv")
        # First, so that no row is lost if a write fails.
        write_quarantine(checked.quarantined, quarantine_file)
        write_batch(answers, target)
        counts = Counter(map(str, decisions)) if decisions.dtype.kind == "O" else Counter()
        return BatchResult(len(good), dict(counts), len(checked.quarantined), str(quarantine_file))


def artifact_forecast(
    artifact: Artifact, problem: Problem, rows: pd.DataFrame, events: EventTables, at: Ints
) -> Floats:
    """Predict with an artifact; see `BatchModel.forecast`."""
    past = problem.features.offline_store(events.events, artifact.reference)
    return predict_table(artifact, problem.features, rows, past, at)


def read_batch(source: str) -> pd.DataFrame:
    """Read rows from `file.csv`, `file.parquet` or `database-url#table`."""
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
    """Write the scored rows atomically, in the format that the target's name implies."""
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
    """Create and fill a table; on failure drop it, because SQLite does not roll back its creation."""
    if inspect(database).has_table(table):
        raise ValueError(f"the table {table} already exists, name a new one")
    try:
        with database.begin() as connection:
            answers.to_sql(table, connection, index=False)
    except BaseException:
        Table(table, MetaData()).drop(database, checkfirst=True)
        raise
