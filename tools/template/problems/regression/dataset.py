"""Your raw table: change here where it is, how its columns are read, and which rows are kept.

Written once by `make init`. Put more tables, joins and filters into `load`: everything else uses what it
returns.
"""
# From 442 rows of sklearn:diabetes.

import os

import pandas as pd
from sklearn import datasets

from fivestage.contract.contract import Contract
from fivestage.data.cleaning import number
from fivestage.data.source import Source
from fivestage.data.tables import simulated_times, tables_of
from fivestage.features.problem import Tables

DATA = os.environ.get("FIVESTAGE_DATA") or "sklearn:diabetes"
NUMBERS = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]


def read(source: str) -> pd.DataFrame:
    """Read the table with its columns as stored."""
    if source != DATA:  # a file to be scored
        return Source(source).read_file()
    bunch = datasets.load_diabetes(as_frame=True)
    return pd.DataFrame(bunch.frame)


def clean(table: pd.DataFrame) -> pd.DataFrame:
    """Convert the contract's columns to texts, numbers and epoch seconds; unreadable values are missing."""
    return pd.DataFrame({name: number(table[name]) for name in NUMBERS}, index=table.index)


def load(contract: Contract, part: str = "") -> Tables:
    """Load the cleaned tables, or one part of them.

    Raises:
        UserError: If the table cannot be read or lacks a column.
    """
    with Source(part or DATA).reading():
        raw = read(part or DATA)
        table = raw[~raw.duplicated()]  # duplicate rows are left out
        rows = clean(table)
        label = number(table["target"])
        rows["row_number"] = table.index
        rows["decided_at"] = simulated_times(label, 140, contract.split)
        known_at = rows["decided_at"] + 3600  # seconds. RECONSIDER: when is the outcome known?
    return tables_of(raw, rows, label, contract, known_at)


def parts() -> tuple[str, ...]:
    """Return no parts: a row's time depends on the whole table."""
    return ()


def read_batch(source: str, contract: Contract) -> pd.DataFrame:
    """Read rows to score from a table with the same headers, renamed as in the contract.

    Raises:
        UserError: If the table cannot be read or lacks a column.
    """
    with Source(source).reading():
        table = read(source)
        rows = clean(table)
        rows["row_number"] = table.get("row_number", table.index)
        rows["decided_at"] = table.get("decided_at", contract.split.test_end_at)
    return rows[list(contract.columns)]


def digest() -> str:
    """Return the SHA-256 of the raw data."""
    return Source(DATA).digest(read)
