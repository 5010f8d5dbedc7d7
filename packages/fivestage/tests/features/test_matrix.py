"""The feature matrix does not depend on the number of rows that are filled in at a time."""

import numpy as np

from fivestage.features.encoder import BLOCK, matrix


def test_many_rows_are_filled_as_few_are() -> None:
    rows, draw = 2 * BLOCK + 7, np.random.default_rng(0)
    number, count = draw.normal(size=rows), np.arange(rows, dtype=np.float64)
    number[[5, BLOCK + 5]] = np.inf, np.nan
    names = ["number", "count", "same"]
    found = matrix({"number": number, "count": count, "same": 3.0}, names, rows)
    parts = [
        matrix({"number": number[part], "count": count[part], "same": 3.0}, names, len(part))
        for part in np.array_split(np.arange(rows), 5)
    ]
    assert np.array_equal(found, np.vstack(parts), equal_nan=True)
    assert np.isnan(found[[5, BLOCK + 5], 0]).all()
    assert not np.isinf(found).any()
