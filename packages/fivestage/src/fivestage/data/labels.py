"""The labels of rows."""

from typing import Any

import numpy as np
import pandas as pd

from fivestage.contract.contract import Contract, RegressionContract


def labels_of(rows: pd.DataFrame, contract: Contract) -> Any:
    """The labels of rows as numbers.

    Args:
        rows: rows that include the contract's label.
        contract: the project's contract.

    Returns:
        One number per row: 0 or 1, the index of the class (int64), or the value of a regression (float64).
    """
    kind = np.float64 if isinstance(contract, RegressionContract) else np.int64
    return rows[contract.label.name].to_numpy(dtype=kind)
