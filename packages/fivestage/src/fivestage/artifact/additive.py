"""Additive models, such as linear and logistic regression with their preprocessing, as a few arrays.

A pipeline of imputation, scaling, one-hot encoding and a linear model computes a sum of one term per feature:
for a number, a straight line and a constant for missing; for a text, a constant for each of its values.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fivestage.common.columns import Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class AdditiveModel:
    """A model whose raw scores are sums of one term per feature."""

    base: Floats  # raw scores of the centre (outputs)
    centre: Floats  # a typical value of each feature (features)
    slope: Floats  # change of the score per unit of a feature (outputs x features); 0 for text features
    missing: Floats  # term of a missing value (outputs x features)
    tables: Floats  # term of each value of the text features (outputs x values)
    first: Ints  # index of each feature's first value in `tables`, and the end of the last (features + 1)
    usual: Floats  # mean term over the training rows (outputs x features)
    link: ClassVar = "margin"  # as of the other kinds of model
    single: ClassVar = False

    def contributions(self, rows: Floats, output: int) -> Floats:
        """Return each feature's term of one output's score, rows x features."""
        terms = np.where(np.isnan(rows), self.missing[output], (rows - self.centre) * self.slope[output])
        for feature in np.flatnonzero(np.diff(self.first)).tolist():
            start, end = self.first[feature], self.first[feature + 1]
            known = (rows[:, feature] >= 0) & (rows[:, feature] < end - start)
            codes = np.where(known, rows[:, feature], 0).astype(np.int64)
            terms[:, feature] = np.where(
                known, self.tables[output, start + codes], self.missing[output, feature]
            )
        return np.asarray(terms, dtype=np.float64)

    def margins(self, rows: Floats) -> Floats:
        """Return the raw scores of rows x features: one per row, or rows x outputs."""
        scores = [
            base + self.contributions(rows, output).sum(axis=1) for output, base in enumerate(self.base)
        ]
        return scores[0] if len(scores) == 1 else np.column_stack(scores)


class AdditiveExplainer:
    """Explains a score relative to the average training row; exact, because features do not interact."""

    def __init__(self, model: AdditiveModel, output: int) -> None:
        self._model, self._output = model, output
        self.base = float(model.base[output] + model.usual[output].sum())

    def contributions(self, row: Floats) -> Floats:
        """Return each feature's contribution; `base` plus their sum is the score."""
        terms = self._model.contributions(row[None], self._output)[0] - self._model.usual[self._output]
        return np.asarray(terms, dtype=np.float64)
