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

DATA = os.environ.get("FIVESTAGE_DATA", "sklearn:breast_cancer")
LAYOUT = Layout(
    headers={
        "mean_radius": "mean radius",
        "mean_texture": "mean texture",
        "mean_perimeter": "mean perimeter",
        "mean_area": "mean area",
        "mean_smoothness": "mean smoothness",
        "mean_compactness": "mean compactness",
        "mean_concavity": "mean concavity",
        "mean_concave_points": "mean concave points",
        "mean_symmetry": "mean symmetry",
        "mean_fractal_dimension": "mean fractal dimension",
        "radius_error": "radius error",
        "texture_error": "texture error",
        "perimeter_error": "perimeter error",
        "area_error": "area error",
        "smoothness_error": "smoothness error",
        "compactness_error": "compactness error",
        "concavity_error": "concavity error",
        "concave_points_error": "concave points error",
        "symmetry_error": "symmetry error",
        "fractal_dimension_error": "fractal dimension error",
        "worst_radius": "worst radius",
        "worst_texture": "worst texture",
        "worst_perimeter": "worst perimeter",
        "worst_area": "worst area",
        "worst_smoothness": "worst smoothness",
        "worst_compactness": "worst compactness",
        "worst_concavity": "worst concavity",
        "worst_concave_points": "worst concave points",
        "worst_symmetry": "worst symmetry",
        "worst_fractal_dimension": "worst fractal dimension",
    },
    target="target",
    classes=(
        "benign",
        "malignant",
    ),  # the last one counts as positive
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
