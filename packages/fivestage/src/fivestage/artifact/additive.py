"""Additive models, such as linear and logistic regression with their preprocessing, as a few arrays.

What a pipeline of imputation, scaling, one-hot encoding and a linear model answers is a sum of one function a
feature: a line with a value of its own for missing, or of a text one number for each of its values.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fivestage.common.columns import Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class AdditiveModel:
    """One sum a raw score."""

    base: Floats  # scores at the centre (outputs)
    centre: Floats  # a usual value of each feature (features)
    slope: Floats  # what a unit more than the centre adds (outputs x features); 0 where there is a table
    missing: Floats  # what a missing value adds (outputs x features)
    tables: Floats  # what each value of the text features adds (outputs x values)
    first: Ints  # where each feature's values begin in `tables`, and the end of the last (features + 1)
    usual: Floats  # what the training rows add on average (outputs x features)

    def contributions(self, rows: Floats, output: int) -> Floats:
        """What each feature adds to one score: rows x features."""
        added = np.where(np.isnan(rows), self.missing[output], (rows - self.centre) * self.slope[output])
        for feature in np.flatnonzero(np.diff(self.first)).tolist():
            start, end = self.first[feature], self.first[feature + 1]
            known = (rows[:, feature] >= 0) & (rows[:, feature] < end - start)
            codes = np.where(known, rows[:, feature], 0).astype(np.int64)
            added[:, feature] = np.where(
                known, self.tables[output, start + codes], self.missing[output, feature]
            )
        return np.asarray(added, dtype=np.float64)

    def margins(self, rows: Floats) -> Floats:
        """The scores of rows x features: one a row, or rows x outputs."""
        found = [base + self.contributions(rows, output).sum(axis=1) for output, base in enumerate(self.base)]
        return found[0] if len(found) == 1 else np.column_stack(found)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As named arrays."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class AdditiveExplainer:
    """What moved a score, against the average training row; exact, as features do not interact."""

    def __init__(self, model: AdditiveModel, output: int) -> None:
        self._model, self._output = model, output
        self.base = float(model.base[output] + model.usual[output].sum())

    def contributions(self, row: Floats) -> Floats:
        """What each feature adds to the score; with `base` they sum to it."""
        found = self._model.contributions(row[None], self._output)[0] - self._model.usual[self._output]
        return np.asarray(found, dtype=np.float64)
