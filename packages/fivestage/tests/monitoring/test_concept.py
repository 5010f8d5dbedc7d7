import numpy as np
import pandas as pd
import pytest

from fivestage.evaluation.daily import Floats
from fivestage.evaluation.metrics import Answers
from fivestage.monitoring.causes import Effect, causes
from fivestage.monitoring.concept import (
    CHANCES,
    MARGIN,
    ConceptReport,
    concept_chances,
    concept_statistics,
    count_products,
    detect_concept_drift,
)
from fivestage.monitoring.distances import WindowCounts, bin_column
from fivestage.monitoring.drift import detect_drift
from fivestage.monitoring.performance import judge
from fivestage.monitoring.residuals import design_of
from tests.contract.contracts import binary_contract
from tests.monitoring.test_drift import PERIOD, REFERENCE, changed, window


def labelled(seed: int, first: int, days: int) -> tuple[object, Floats, Floats]:
    """A window, labels that come as the score says, and the score."""
    some = window(seed, first, days)
    chance = some.frame["score"].to_numpy()
    label = (np.random.default_rng(seed).random(chance.size) < chance).astype(np.float64)
    return some, label, chance


def found(change: str) -> ConceptReport:
    reference, label, chance = labelled(0, 0, REFERENCE)
    current, label_now, chance_now = labelled(10, REFERENCE, PERIOD)
    draw = np.random.default_rng(1)
    label_now = {
        "nothing": label_now,
        "more of them": np.where(draw.random(label_now.size) < 0.3, 1.0, label_now),
        "another meaning": 1 - label_now,
        "no meaning": draw.permutation(label_now),
    }[change]
    windows = (reference, current)
    return detect_concept_drift(*windows, (label, label_now), (chance, chance_now), 0.01)  # type: ignore[arg-type]


def test_labels_as_predicted_are_silent() -> None:
    assert found("nothing") == ConceptReport(rate=False, columns=(), sentences=())


def test_another_rate_is_told_from_another_concept() -> None:
    report = found("more of them")
    assert report.rate
    assert "labels are more frequent than the inputs explain" in report.sentences[0]
    report = found("another meaning")
    assert {MARGIN, "score"} & set(report.columns)
    assert found("no meaning").columns


def test_a_few_more_labels_show_where_the_model_is_sure() -> None:
    """Bad days hide a rise by a tenth among the rows that they move; the sure rows stay where they were."""
    draw, rows = np.random.default_rng(4), 300

    def days(first: int, number: int, more: float) -> tuple[WindowCounts, Floats, Floats]:
        day = np.repeat(np.arange(first, first + number), rows)
        chance = draw.choice([0.05, 0.5], day.size)
        bad = draw.normal(0, 1, number)[day - first]
        truth = 1 / (1 + np.exp(-(np.log(chance / (1 - chance)) + bad)))
        label = draw.random(day.size) < truth + more * (1 - truth)
        return WindowCounts(pd.DataFrame({"x": chance}), day, first, number), label.astype(np.float64), chance

    usual, label, chance = days(0, REFERENCE, 0)
    for more, alarm in ((0.0, False), (0.2, True)):
        now, label_now, chance_now = days(REFERENCE, PERIOD, more)
        report = detect_concept_drift(usual, now, (label, label_now), (chance, chance_now), 0.01)
        assert report.rate == alarm
    design = design_of(usual.frame, (bin_column(usual.frame["x"]),))
    then, moved = (
        count_products(one, truth, told, design, CHANCES)
        for one, truth, told in ((usual, label, chance), (now, label_now, chance_now))
    )
    overall = concept_statistics(moved.whole, then.whole)["overall"]
    reach = concept_chances(then, PERIOD, 0.01)["overall"].beyond(overall)[0]
    plain, _, _, sure = reach
    assert sure > 1 > plain


@pytest.mark.parametrize(
    ("concept", "kind"),
    [
        (ConceptReport(rate=True, columns=(), sentences=("rarer",)), "label-rate shift"),
        (ConceptReport(rate=True, columns=("x",), sentences=("other",)), "concept shift"),
    ],
)
def test_each_cause_is_one_of_four_kinds(concept: ConceptReport, kind: str) -> None:
    contract, reference = binary_contract(), window(0, 0, REFERENCE)
    current, label, chance = labelled(10, REFERENCE, PERIOD)
    known = np.ones(label.size, dtype=bool)
    answers, usual = Answers(chance, chance >= 0.33), np.array([1, 0, 0])
    performance = judge(label, known, answers, current.day, usual, contract)  # type: ignore[attr-defined]
    still = detect_drift(reference, current, 0.01)  # type: ignore[arg-type]
    (cause,) = causes(still, concept, performance, {}, REFERENCE, "USD")
    assert cause.kind == kind
    assert "USD per 1,000" in cause.sentence

    broken = changed(current, "temperature", lambda celsius: celsius * 1.8 + 32)  # type: ignore[arg-type]
    drift = detect_drift(reference, broken, 0.01)
    effects = {"temperature": Effect(shift=0.02, importance=0.01, changed=0.04, loss_per_1000=123.4)}
    (cause,) = causes(drift, concept, performance, effects, 15_000, "USD")
    assert cause.kind == "data broken"  # which explains the labels too
    assert cause.sentence.startswith("temperature: ")
    assert "; since 2011-01-26; it moves the mean prediction by +0.020 and changes 4.0% of " in cause.sentence
    assert cause.sentence.endswith("decisions, which costs 123 USD per 1,000 if the values are wrong")
    assert cause.trail is not None
    assert (len(cause.trail.usual), len(cause.trail.now)) == (REFERENCE, PERIOD)
    assert min(cause.trail.now) > cause.trail.high
