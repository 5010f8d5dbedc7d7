"""Question drift as a metric of Evidently: a permutation test on embeddings, and descriptors of the text.

Energy distance between two sets of vectors (Székely and Rizzo 2013), its chance by permutation: no threshold
is guessed, and the share of false alarms is what was asked for.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.core.metric_types import BoundTest, SingleValue, SingleValueCalculation, SingleValueMetric
from evidently.core.report import Context
from evidently.descriptors import NonLetterCharacterPercentage, SentenceCount, TextLength, WordCount
from evidently.metrics import MeanValue
from evidently.tests import gt

from fivestage_assistant.embedding import Vectors

QUESTION = "question"
PERMUTATIONS = 999
_VECTOR = "vector {}"


def permutation_p_value(
    reference: Vectors, current: Vectors, permutations: int = PERMUTATIONS, seed: int = 0
) -> float:
    """How often sets of these sizes, drawn from both together, lie as far apart.

    Args:
        reference: vectors of unit length, a row each.
        current: likewise.
        permutations: how many to draw.
        seed: of the draw.

    Returns:
        The p-value, from 1 / (permutations + 1) to 1.
    """
    both = np.vstack([reference, current]).astype(np.float64)
    apart = np.sqrt(np.maximum(2 - 2 * both @ both.T, 0))  # Euclidean, of unit vectors
    total, n, m = len(both), len(reference), len(current)
    chance = np.random.default_rng(seed)
    orders = [np.arange(total), *(chance.permutation(total) for _ in range(permutations))]
    marks = np.zeros((len(orders), total))
    for row, order in enumerate(orders):
        marks[row, order[n:]] = 1.0
    others = 1 - marks
    within = (
        np.einsum("ij,ij->i", marks @ apart, marks) / m**2
        + np.einsum("ij,ij->i", others @ apart, others) / n**2
    )
    between = np.einsum("ij,ij->i", marks @ apart, others) / (n * m)
    energy = 2 * between - within
    return float((energy >= energy[0] - 1e-12).mean())


class QuestionDrift(SingleValueMetric):
    """The p-value of the questions' embeddings against the reference's; a low one is no chance."""

    false_alarm: float = 0.01

    def get_bound_tests(self, context: Context) -> list[BoundTest]:
        """The metric's own test, in every report."""
        if self.tests is not None:
            return list(super().get_bound_tests(context))
        test: Any = gt(self.false_alarm, is_critical=False)
        return [test.bind_single(self.get_fingerprint())]


class QuestionDriftCalculation(SingleValueCalculation[QuestionDrift]):
    """The permutation test on the columns of vectors."""

    def calculate(
        self, _context: Context, current_data: Dataset, reference_data: Dataset | None
    ) -> SingleValue:
        """See `SingleValueCalculation`."""
        if reference_data is None:
            raise ValueError("Question drift needs reference questions.")
        result = self.result(permutation_p_value(_vectors(reference_data), _vectors(current_data)))
        result.widget = []
        return result

    def display_name(self) -> str:
        """See `SingleValueCalculation`."""
        return "Chance that questions differ this much (permutation test on embeddings)"


def question_report(
    reference: Sequence[str],
    reference_vectors: Vectors,
    current: Sequence[str],
    current_vectors: Vectors,
    false_alarm: float,
    page: Path | None = None,
) -> tuple[float, dict[str, float]]:
    """Compare questions with those that the index was judged on.

    Args:
        reference: questions.
        reference_vectors: theirs.
        current: questions of the window.
        current_vectors: theirs.
        false_alarm: chance of an alarm where nothing changed.
        page: where the report goes as HTML; None for none.

    Returns:
        The p-value, and the mean of each descriptor.
    """
    datasets = [
        _dataset(texts, vectors)
        for texts, vectors in ((current, current_vectors), (reference, reference_vectors))
    ]
    names = [one.alias for one in _descriptors()]
    report = Report([QuestionDrift(false_alarm=false_alarm), *(MeanValue(column=name) for name in names)])
    done = report.run(*datasets, name="questions")
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        done.save_html(str(page))
    metrics = done.dict()["metrics"]
    p_value = float(metrics[0]["value"])
    return p_value, {name: float(one["value"]) for name, one in zip(names, metrics[1:], strict=True)}


def _descriptors() -> list[Any]:
    """Descriptors that download nothing."""
    return [
        TextLength(QUESTION, alias="characters"),
        WordCount(QUESTION, alias="words"),
        SentenceCount(QUESTION, alias="sentences"),
        NonLetterCharacterPercentage(QUESTION, alias="non-letters, %"),
    ]


def _dataset(texts: Sequence[str], vectors: Vectors) -> Dataset:
    named = {_VECTOR.format(n): vectors[:, n] for n in range(vectors.shape[1])}
    frame = pd.DataFrame({QUESTION: list(texts), **named})
    about = DataDefinition(text_columns=[QUESTION], numerical_columns=list(named))
    return Dataset.from_pandas(frame, about, descriptors=_descriptors())


def _vectors(dataset: Dataset) -> Vectors:
    frame = dataset.as_dataframe()
    names = [name for name in frame.columns if str(name).startswith(_VECTOR.format(""))]
    return np.asarray(frame[names].to_numpy(), np.float32)
