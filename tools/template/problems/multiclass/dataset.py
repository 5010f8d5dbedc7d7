"""Your raw table: change here where it is, how its columns are read, and which rows are kept.

Written once by `make init`. Put more tables, joins and filters into `load`: everything else uses what it
returns.
"""
# From 178 rows of sklearn:wine.

import os

import pandas as pd
from sklearn import datasets

from fivestage.contract.contract import Contract
from fivestage.data.cleaning import class_codes, number
from fivestage.data.source import Source
from fivestage.data.tables import simulated_times, tables_of
from fivestage.features.problem import Tables

DATA = os.environ.get("FIVESTAGE_DATA") or "sklearn:wine"
HEADERS = {  # headers of the table, and their names in the contract
    "od280/od315_of_diluted_wines": "od280_od315_of_diluted_wines",
}
NUMBERS = [
    "alcohol",
    "malic_acid",
    "ash",
    "alcalinity_of_ash",
    "magnesium",
    "total_phenols",
    "flavanoids",
    "nonflavanoid_phenols",
    "proanthocyanins",
    "color_intensity",
    "hue",
    "od280_od315_of_diluted_wines",
    "proline",
]


def read(source: str) -> pd.DataFrame:
    """Read the table with its columns as stored, renamed."""
    if source != DATA:  # a file to be scored
        return Source(source).read_file().rename(columns=HEADERS)
    bunch = datasets.load_wine(as_frame=True)
    return pd.DataFrame(bunch.frame).assign(target=bunch.target_names[bunch.target]).rename(columns=HEADERS)


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
        label = class_codes(table["target"], ("class_0", "class_1", "class_2"))
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
