"""Monitoring: compare the questions and answers of a window with the contract; alerts go to the policy."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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
from fivestage.common.files import write_text
from fivestage.monitoring.retraining import PeriodSummary
from fivestage.serving.store import PredictionRecord, Store

from fivestage_assistant.ask_service import FEEDBACK
from fivestage_assistant.assistant_contract import Monitoring
from fivestage_assistant.embedding import MiniLm, Vectors

MIN_QUESTIONS = 20  # in a window, for alerts other than on a changed corpus


@dataclass(frozen=True)
class WatchedWindow:
    """The measurements of a window of questions."""

    questions: int  # number of questions
    p_value: float  # of the test for question drift; NaN with too few questions
    abstained: float  # share of answers that were "I do not know"
    empty: float  # share of questions for which nothing was found
    fell_back: float  # share of questions for which a chat model's answer was not shown
    supported: float  # share of citations whose quote is in the answer
    feedback: int  # number of thumbs received
    thumbs_down: float  # share of thumbs down; NaN without feedback
    descriptors: dict[str, float]  # means of text descriptors over the questions
    corpus_changed: bool  # whether documents have changed since they were indexed
    alerts: tuple[str, ...]  # one sentence per alert

    @property
    def summary(self) -> PeriodSummary:
        """The window as a period of the retraining policy; an alert makes it bad."""
        return PeriodSummary(label_share=1.0, bad=bool(self.alerts), broken=())


def watch(
    store: Store,
    reference: Sequence[str],
    model: MiniLm | None,
    rules: Monitoring,
    *,
    corpus_changed: bool,
    page: Path | None = None,
) -> WatchedWindow:
    """Measure the last window of the log.

    Args:
        store: the log.
        reference: the answerable questions of the set.
        model: the embedding model; None skips the test for drift.
        rules: the contract's limits.
        corpus_changed: whether the corpus differs from the indexed one.
        page: path of Evidently's report; None writes none.

    Returns:
        The measurements and the alerts that fired.
    """
    records = [record for _, record in store.answers()][-rules.window :]
    asked = [json.loads(one.request)["question"] for one in records]
    bodies = [json.loads(one.answer) for one in records]
    p_value, descriptors = _drift(asked, reference, model, rules, page)
    thumbs = _thumbs(store, records)
    window = WatchedWindow(
        questions=len(records),
        p_value=p_value,
        abstained=_share([one["kind"] == "unknown" for one in bodies]),
        empty=_share([not one["retrieved"] for one in bodies]),
        fell_back=_share([bool(one["fell_back"]) for one in bodies]),
        supported=_share(
            [
                cited["quote"] in one["answer"]
                for one in bodies
                for cited in one["citations"]
                if one["kind"] == "extractive"
            ]
        ),
        feedback=len(thumbs),
        thumbs_down=_share([not one for one in thumbs]),
        descriptors=descriptors,
        corpus_changed=corpus_changed,
        alerts=(),
    )
    return replace(window, alerts=tuple(_alerts(window, rules)))


def save_window(window: WatchedWindow, path: Path) -> Path:
    """Append a window to the history, a JSON object per line."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    line = json.dumps(asdict(window))
    return write_text(path, f"{before}{line}\n")


def windows_before(path: Path) -> list[PeriodSummary]:
    """Return the recorded windows as periods of the retraining policy."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [PeriodSummary(label_share=1.0, bad=bool(json.loads(line)["alerts"]), broken=()) for line in lines]


def _alerts(window: WatchedWindow, rules: Monitoring) -> list[str]:
    """Return the alerts that fire; shares of too few questions fire none."""
    found = []
    if window.corpus_changed:
        found.append("Documents have changed since they were indexed.")
    if window.questions < MIN_QUESTIONS:
        return found
    if window.p_value <= rules.false_alarm:
        found.append(f"Questions differ from those of the evaluation (p = {window.p_value:.3f}).")
    if window.abstained > rules.max_abstention:
        found.append(
            f"{window.abstained:.0%} of the questions were declined; the limit is {rules.max_abstention:.0%}."
        )
    if window.empty > rules.max_empty:
        found.append(
            f"Nothing was found for {window.empty:.0%} of the questions; the limit is {rules.max_empty:.0%}."
        )
    limit = rules.max_thumbs_down
    if window.feedback >= rules.min_feedback and window.thumbs_down > limit:
        found.append(
            f"{window.thumbs_down:.0%} of {window.feedback} thumbs are down; the limit is {limit:.0%}."
        )
    return found


def _drift(
    asked: Sequence[str], reference: Sequence[str], model: MiniLm | None, rules: Monitoring, page: Path | None
) -> tuple[float, dict[str, float]]:
    if model is None or len(asked) < MIN_QUESTIONS or len(reference) < MIN_QUESTIONS:
        return math.nan, {}
    vectors = model.embed(reference), model.embed(asked)
    return question_report(reference, vectors[0], asked, vectors[1], rules.false_alarm, page)


def _thumbs(store: Store, records: Sequence[PredictionRecord]) -> list[bool]:
    ids = {one.request_id for one in records}
    bodies = (json.loads(body) for _, kind, body in store.events() if kind == FEEDBACK)
    return [bool(one["helpful"]) for one in bodies if one["request_id"] in ids]


def _share(values: Sequence[bool]) -> float:
    return float(np.mean(values)) if values else math.nan


QUESTION = "question"
PERMUTATIONS = 999
_VECTOR = "vector {}"


def permutation_p_value(
    reference: Vectors, current: Vectors, permutations: int = PERMUTATIONS, seed: int = 0
) -> float:
    """Return the p-value of a permutation test on the energy distance between two sets of vectors.

    Args:
        reference: vectors of unit length, questions x dimensions.
        current: likewise.
        permutations: number of permutations.
        seed: seed of the permutations.

    Returns:
        The p-value, from 1 / (permutations + 1) to 1.
    """
    both = np.vstack([reference, current]).astype(np.float64)
    distances = np.sqrt(np.maximum(2 - 2 * both @ both.T, 0))  # Euclidean distance of unit vectors
    total, n, m = len(both), len(reference), len(current)
    generator = np.random.default_rng(seed)
    orders = [np.arange(total), *(generator.permutation(total) for _ in range(permutations))]
    marks = np.zeros((len(orders), total))
    for row, order in enumerate(orders):
        marks[row, order[n:]] = 1.0
    others = 1 - marks
    within = (
        np.einsum("ij,ij->i", marks @ distances, marks) / m**2
        + np.einsum("ij,ij->i", others @ distances, others) / n**2
    )
    between = np.einsum("ij,ij->i", marks @ distances, others) / (n * m)
    energy = 2 * between - within
    return float((energy >= energy[0] - 1e-12).mean())


class QuestionDrift(SingleValueMetric):
    """Evidently metric: the p-value of the test that questions come from the reference's distribution."""

    false_alarm: float = 0.01

    def get_bound_tests(self, context: Context) -> list[BoundTest]:
        """Return the metric's own test, so that every report includes it."""
        if self.tests is not None:
            return list(super().get_bound_tests(context))
        test: Any = gt(self.false_alarm, is_critical=False)
        return [test.bind_single(self.get_fingerprint())]


class QuestionDriftCalculation(SingleValueCalculation[QuestionDrift]):
    """Computes the permutation test from the vectors' columns."""

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
    """Compare a window's questions with those of the evaluation, and write Evidently's report.

    Args:
        reference: questions of the set.
        reference_vectors: their vectors.
        current: questions of the window.
        current_vectors: their vectors.
        false_alarm: probability of an alert without drift.
        page: path of the HTML report; None writes none.

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
    """Return text descriptors that need no download."""
    return [
        TextLength(QUESTION, alias="characters"),
        WordCount(QUESTION, alias="words"),
        SentenceCount(QUESTION, alias="sentences"),
        NonLetterCharacterPercentage(QUESTION, alias="non-letters, %"),
    ]


def _dataset(texts: Sequence[str], vectors: Vectors) -> Dataset:
    named = {_VECTOR.format(n): vectors[:, n] for n in range(vectors.shape[1])}
    frame = pd.DataFrame({QUESTION: list(texts), **named})
    definition = DataDefinition(text_columns=[QUESTION], numerical_columns=list(named))
    return Dataset.from_pandas(frame, definition, descriptors=_descriptors())


def _vectors(dataset: Dataset) -> Vectors:
    frame = dataset.as_dataframe()
    names = [name for name in frame.columns if str(name).startswith(_VECTOR.format(""))]
    return np.asarray(frame[names].to_numpy(), np.float32)
