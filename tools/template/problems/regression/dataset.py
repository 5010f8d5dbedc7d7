"""The raw table to rows, outcomes and labels. Written by `make init`; yours to edit.

`LAYOUT` says how the table is read. More tables, joins and filters go into `load`: what it returns is what
everything else sees (`fivestage.data.tables.Tables`).
"""

import os

import pandas as pd

from fivestage.contract.contract import Contract
from fivestage.data.source import digest_of, parts_of, read_table
from fivestage.data.tables import Layout, rows_of, tables_of
from fivestage.features.problem import Tables

DATA = os.environ.get("FIVESTAGE_DATA", "sklearn:diabetes")
LAYOUT = Layout(
    headers={
        "age": "age",
        "sex": "sex",
        "bmi": "bmi",
        "bp": "bp",
        "s1": "s1",
        "s2": "s2",
        "s3": "s3",
        "s4": "s4",
        "s5": "s5",
        "s6": "s6",
    },
    target="target",
    row="row_number",
    simulated_days=140,
)


def load(contract: Contract, part: str = "") -> Tables:
    """The cleaned tables, of the whole or of a part.

    Raises:
        UserError: the table cannot be read, or lacks a column.
    """
    return tables_of(read_table(part or DATA), LAYOUT, contract)


def parts() -> tuple[str, ...]:
    """The files of a folder that is too large to be read at once; none where it is not, or cannot be cut."""
    return parts_of(DATA) if LAYOUT.can_be_cut else ()


def read_batch(source: str, contract: Contract) -> pd.DataFrame:
    """Rows to be scored, by the contract's names, from a table with the headers of this one.

    Raises:
        UserError: the table cannot be read.
    """
    return rows_of(read_table(source), LAYOUT, contract)


def digest() -> str:
    """SHA-256 of the raw data."""
    return digest_of(DATA)
