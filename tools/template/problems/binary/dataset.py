"""Your raw table: change here where it is, how its columns are read, and which rows are kept.

Written once by `make init`. Put more tables, joins and filters into `load`: everything else uses what it
returns.
"""
# From 569 rows of sklearn:breast_cancer.

import os

import pandas as pd
from sklearn import datasets

from fivestage.contract.contract import Contract
from fivestage.data.cleaning import equals, number
from fivestage.data.source import Source
from fivestage.data.tables import simulated_times, tables_of
from fivestage.features.problem import Tables

DATA = os.environ.get("FIVESTAGE_DATA") or "sklearn:breast_cancer"
HEADERS = {  # headers of the table, and their names in the contract
    "mean radius": "mean_radius",
    "mean texture": "mean_texture",
    "mean perimeter": "mean_perimeter",
    "mean area": "mean_area",
    "mean smoothness": "mean_smoothness",
    "mean compactness": "mean_compactness",
    "mean concavity": "mean_concavity",
    "mean concave points": "mean_concave_points",
    "mean symmetry": "mean_symmetry",
    "mean fractal dimension": "mean_fractal_dimension",
    "radius error": "radius_error",
    "texture error": "texture_error",
    "perimeter error": "perimeter_error",
    "area error": "area_error",
    "smoothness error": "smoothness_error",
    "compactness error": "compactness_error",
    "concavity error": "concavity_error",
    "concave points error": "concave_points_error",
    "symmetry error": "symmetry_error",
    "fractal dimension error": "fractal_dimension_error",
    "worst radius": "worst_radius",
    "worst texture": "worst_texture",
    "worst perimeter": "worst_perimeter",
    "worst area": "worst_area",
    "worst smoothness": "worst_smoothness",
    "worst compactness": "worst_compactness",
    "worst concavity": "worst_concavity",
    "worst concave points": "worst_concave_points",
    "worst symmetry": "worst_symmetry",
    "worst fractal dimension": "worst_fractal_dimension",
}
NUMBERS = [
    "mean_radius",
    "mean_texture",
    "mean_perimeter",
    "mean_area",
    "mean_smoothness",
    "mean_compactness",
    "mean_concavity",
    "mean_concave_points",
    "mean_symmetry",
    "mean_fractal_dimension",
    "radius_error",
    "texture_error",
    "perimeter_error",
    "area_error",
    "smoothness_error",
    "compactness_error",
    "concavity_error",
    "concave_points_error",
    "symmetry_error",
    "fractal_dimension_error",
    "worst_radius",
    "worst_texture",
    "worst_perimeter",
    "worst_area",
    "worst_smoothness",
    "worst_compactness",
    "worst_concavity",
    "worst_concave_points",
    "worst_symmetry",
    "worst_fractal_dimension",
]


def read(source: str) -> pd.DataFrame:
    """Read the table with its columns as stored, renamed."""
    if source != DATA:  # a file to be scored
        return Source(source).read_file().rename(columns=HEADERS)
    bunch = datasets.load_breast_cancer(as_frame=True)
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
        label = equals(table["target"], "malignant")
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
