import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from fivestage.contract.cost_model import cost_model_of
from fivestage.contract.tasks import BinaryCosts
from fivestage.evaluation import metrics
from fivestage.evaluation.daily import SMALLEST, Floats

COSTS = BinaryCosts(
    currency="USD", act_positive=450.0, act_negative=150.0, wait_positive=750.0, wait_negative=0.0
)


def rows(seed: int, size: int, days: int, levels: int) -> tuple[Floats, Floats, Floats]:
    """Labels of both classes, probabilities with ties, and days."""
    draw = np.random.default_rng(seed)
    chance = draw.integers(levels + 1, size=size) / levels
    label = (draw.random(size) < chance).astype(np.float64)
    label[:2] = 0, 1
    return label, chance, draw.integers(days, size=size).astype(np.float64)


@given(seed=st.integers(0, 10_000), size=st.integers(2, 80), levels=st.integers(1, 30))
def test_scores_equal_those_of_scikit_learn(seed: int, size: int, levels: int) -> None:
    label, chance, _ = rows(seed, size, 1, levels)
    got = metrics.scores(label, chance, COSTS)
    clipped = np.clip(chance, SMALLEST, 1 - SMALLEST)
    assert got["roc_auc"] == pytest.approx(sk.roc_auc_score(label, chance))
    assert got["pr_auc"] == pytest.approx(sk.average_precision_score(label, chance))
    assert got["brier"] == pytest.approx(sk.brier_score_loss(label, chance))
    assert got["log_loss"] == pytest.approx(sk.log_loss(label, clipped), rel=1e-9)


@given(
    seed=st.integers(0, 10_000), size=st.integers(4, 80), days=st.integers(1, 6), levels=st.integers(1, 30)
)
def test_a_resample_equals_scikit_learn_with_weights(seed: int, size: int, days: int, levels: int) -> None:
    label, chance, day = rows(seed, size, days, levels)
    sample = metrics.sample_of(label, chance, day, COSTS, None)
    for weight in sample.resamples(3):
        _, of_day = np.unique(day, return_inverse=True)
        of_row = weight[of_day]
        got = {name: values[0] for name, values in sample.scores(weight[None]).items()}
        if np.ptp(label[of_row > 0]) == 0:
            assert np.isnan(got["roc_auc"])
            continue
        assert got["roc_auc"] == pytest.approx(sk.roc_auc_score(label, chance, sample_weight=of_row))
        assert got["pr_auc"] == pytest.approx(sk.average_precision_score(label, chance, sample_weight=of_row))
        assert got["brier"] == pytest.approx(sk.brier_score_loss(label, chance, sample_weight=of_row))
        assert got["bias"] == pytest.approx(np.average(chance - label, weights=of_row))


def test_resamples_in_several_batches_equal_each_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    label, chance, day = rows(3, 200, 5, 40)
    sample = metrics.sample_of(label, chance, day, COSTS, None)
    weights = sample.resamples(6)
    alone = [sample.scores(weight[None])["pr_auc"][0] for weight in weights]
    monkeypatch.setattr("fivestage.evaluation.classification_metrics.BATCH_NUMBERS", 4 * len(weights))
    assert sample.scores(weights)["pr_auc"] == pytest.approx(alone)


def test_money_by_hand() -> None:
    got = metrics.scores(np.array([1, 1, 0, 0]), np.array([0.9, 0.1, 0.9, 0.1]), COSTS)
    assert got["cost_per_1000"] == (450 + 750 + 150 + 0) / 4 * 1000
    always_act, perfect = 2 * 450 + 2 * 150, 2 * 450
    assert got["savings_share"] == (always_act - 1350) / (always_act - perfect)
    assert (got["action_rate"], got["rate"], got["rows"]) == (0.5, 0.5, 4)


def test_we_act_from_the_threshold_on() -> None:
    label, chance = np.array([1, 0]), np.array([COSTS.threshold, 0.1])
    assert metrics.scores(label, chance, COSTS)["action_rate"] == 0.5
    assert metrics.scores(label, chance, COSTS, decision=chance >= 0.05)["action_rate"] == 1


def test_perfect_decisions_save_all() -> None:
    label = np.array([0, 1, 1, 0])
    assert metrics.scores(label, label, COSTS)["savings_share"] == 1


def test_one_class_has_no_ranking_and_nothing_to_save() -> None:
    got = metrics.scores(np.zeros(3), np.array([0.1, 0.2, 0.3]), COSTS)
    assert np.isnan([got["roc_auc"], got["pr_auc"], got["savings_share"]]).all()
    assert got["bias"] == pytest.approx(0.2)


def test_calibration_error_sees_bins_that_are_off_in_both_directions() -> None:
    chance = np.repeat([0.25, 0.75], 1000)
    label = np.tile([0, 1], 1000)
    got = metrics.scores(label, chance, COSTS)
    assert got["bias"] == pytest.approx(0)
    assert got["calibration_error"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("label", "chance", "why"),
    [
        ([], [], "do not match"),
        ([0, 1], [0.5], "do not match"),
        ([0, 2], [0.5, 0.5], "label lies outside"),
        ([0, 1], [0.5, 1.5], "probability lies outside"),
        ([0, 1], [0.5, np.nan], "probability lies outside"),
    ],
)
def test_what_cannot_be_scored_is_refused(label: list[float], chance: list[float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        metrics.scores(np.array(label), np.array(chance), COSTS)


def test_intervals_know_that_rows_of_one_day_move_together() -> None:
    draw = np.random.default_rng(5)
    day = np.repeat(np.arange(60), 100)
    chance = np.full(day.size, 0.3)
    independent = (draw.random(day.size) < 0.3).astype(float)
    together = (draw.random(day.size) < draw.choice([0.1, 0.5], 60)[day]).astype(float)
    width = {}
    for name, label in (("independent", independent), ("together", together)):
        rate = metrics.evaluate(label, chance, day, COSTS)["rate"]
        width[name] = rate.high - rate.low
    assert width["together"] > 3 * width["independent"]


@pytest.mark.parametrize("days", [7, 60])
def test_the_interval_covers_as_often_as_it_says(days: int) -> None:
    draw = np.random.default_rng(6)
    covered = 0
    for _ in range(200):
        day = np.repeat(np.arange(days), 5)
        label = (draw.random(day.size) < draw.uniform(0.1, 0.5, days)[day]).astype(float)
        saved = metrics.paired_difference(label, np.full(day.size, 0.3), day)
        low, high = saved.low, saved.high
        covered += low <= 0 <= high
    assert 0.90 <= covered / 200 <= 0.985


def test_one_day_has_no_interval() -> None:
    label, chance, _ = rows(1, 100, 1, 50)
    rate = metrics.evaluate(label, chance, np.zeros(100), COSTS)["rate"]
    assert np.isnan([rate.low, rate.high]).all()


def test_the_same_rows_give_the_same_intervals() -> None:
    label, chance, day = rows(1, 300, 20, 50)
    first, second = (metrics.evaluate(label, chance, day, COSTS) for _ in range(2))
    assert first == second


def test_slices_are_the_scores_of_their_rows_most_frequent_first() -> None:
    label, chance, day = rows(2, 400, 10, 50)
    value = np.where(np.arange(400) % 4 == 0, "few", "many")
    got = metrics.by_slice(value, label, chance, day, COSTS)
    assert list(got) == ["many", "few"]
    few = value == "few"
    scores = {name: one.value for name, one in got["few"].items()}
    assert scores == pytest.approx(metrics.scores(label[few], chance[few], COSTS))
    assert list(metrics.by_slice(value, label, chance, day, COSTS, min_rows=200)) == ["many"]


def test_paired_difference_is_what_b_saves() -> None:
    day = np.repeat(np.arange(30), 10)
    a = np.random.default_rng(3).uniform(0, 750, 300)
    always = metrics.paired_difference(a, a - 7, day)
    assert (always.mean, always.low, always.high) == pytest.approx((7000, 7000, 7000))
    none = metrics.paired_difference(a, np.random.default_rng(4).permutation(a), day)
    assert none.low < 0 < none.high
    assert none.mean == pytest.approx(0, abs=1e-6)


def test_paired_difference_needs_pairs() -> None:
    with pytest.raises(ValueError, match="3 pairs of costs, but days for 2 rows"):
        metrics.paired_difference(np.ones(3), np.ones(3), np.ones(2))


def test_an_uncertain_label_costs_its_expectation() -> None:
    np.testing.assert_allclose(
        cost_model_of(COSTS).price(np.array([1, 0, 0.5, 0.5]), np.array([True, True, True, False])),
        [450, 150, 300, 375],
    )


def test_uncertain_labels_give_expected_scores() -> None:
    draw = np.random.default_rng(8)
    chance = draw.beta(2, 5, 5000)
    expected = metrics.scores(chance, chance, COSTS)
    drawn = [metrics.scores(draw.random(5000) < chance, chance, COSTS) for _ in range(50)]
    for name, value in expected.items():
        if name not in ("calibration_error", "savings_share"):
            values = [scores[name] for scores in drawn]
            assert value == pytest.approx(np.mean(values), rel=0.01, abs=5e-3), name
    assert expected["bias"] == expected["calibration_error"] == 0
