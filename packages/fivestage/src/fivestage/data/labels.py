"""The labels of rows."""

from typing import Any

import numpy as np
import pandas as pd

from fivestage.contract.contract import Contract, RegressionContract


def labels_of(rows: pd.DataFrame, contract: Contract) -> Any:
    """The labels of rows as numbers.

    Args:
        rows: rows that hold the contract's label.
        contract: names the label, and tells the task.

    Returns:
        One number a row: 0 or 1, the place of a class among the contract's (int64), or a number (float64).
    """
    kind = np.float64 if isinstance(contract, RegressionContract) else np.int64
    return rows[contract.label.name].to_numpy(dtype=kind)
