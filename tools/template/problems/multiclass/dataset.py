"""Your raw table: change here where it lies, how its columns are read, and which rows stay.

Written once by `make init`, from 178 rows of sklearn:wine.
More tables, joins and filters go into `load`: what it returns is what everything else sees.
"""

import os

import pandas as pd
from sklearn.datasets import load_wine

from fivestage.contract.contract import Contract
from fivestage.data.cleaning import class_codes, number
from fivestage.data.source import digest_of, read_file, reading
from fivestage.data.tables import simulated_times, tables_of
from fivestage.features.problem import Tables

DATA = os.environ.get("FIVESTAGE_DATA") or "sklearn:wine"
HEADERS = {  # of the table, and the names that the contract has for them
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
    """The table, its columns as they are stored but for their names."""
    if source != DATA:  # a file to be scored
        return read_file(source).rename(columns=HEADERS)
    bunch = load_wine(as_frame=True)
    return pd.DataFrame(bunch.frame).assign(target=bunch.target_names[bunch.target]).rename(columns=HEADERS)


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
        label = class_codes(table["target"], ("class_0", "class_1", "class_2"))
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
