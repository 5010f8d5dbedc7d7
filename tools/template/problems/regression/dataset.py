"""Your raw table: change here where it lies, how its columns are read, and which rows stay.

Written once by `make init`, from 442 rows of sklearn:diabetes.
More tables, joins and filters go into `load`: what it returns is what everything else sees.
"""

import os

import pandas as pd
from sklearn.datasets import load_diabetes

from fivestage.contract.contract import Contract
from fivestage.data.cleaning import number
from fivestage.data.source import digest_of, read_file, reading
from fivestage.data.tables import simulated_times, tables_of
from fivestage.features.problem import Tables

DATA = os.environ.get("FIVESTAGE_DATA") or "sklearn:diabetes"
NUMBERS = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]


def read(source: str) -> pd.DataFrame:
    """The table, its columns as they are stored."""
    if source != DATA:  # a file to be scored
        return read_file(source)
    bunch = load_diabetes(as_frame=True)
    return pd.DataFrame(bunch.frame)


def clean(table: pd.DataFrame) -> pd.DataFrame:
    """The contract's columns: texts, numbers, and times as epoch seconds; what cannot be read is missing."""
    return pd.DataFrame({name: number(table[name]) for name in NUMBERS}, index=table.index)


def load(contract: Contract, part: str = "") -> Tables:
    """The cleaned tables, of the whole or of a part.

    Raises:
        UserError: the table cannot be read, or lacks a column.
    """
    with reading(part or DATA):
        raw = read(part or DATA)
        table = raw[~raw.duplicated()]  # rows that repeat another one whole are left out
        rows = clean(table)
        label = number(table["target"])
        rows["row_number"] = table.index
        rows["decided_at"] = simulated_times(label, 140, contract.split)
        known_at = rows["decided_at"] + 3600  # seconds. RECONSIDER: when is the outcome known?
    return tables_of(raw, rows, label, contract, known_at)


def parts() -> tuple[str, ...]:
    """The whole table is needed at once: the time of a row hangs on the others."""
    return ()


def read_batch(source: str, contract: Contract) -> pd.DataFrame:
    """Rows to be scored, under the contract's names, from a table with the headers of this one.

    Raises:
        UserError: the table cannot be read, or lacks a column.
    """
    with reading(source):
        table = read(source)
        rows = clean(table)
        rows["row_number"] = table.get("row_number", table.index)
        rows["decided_at"] = table.get("decided_at", contract.split.test_end_at)
    return rows[list(contract.columns)]


def digest() -> str:
    """SHA-256 of the raw data."""
    return digest_of(DATA, read)
