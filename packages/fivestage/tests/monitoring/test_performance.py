import numpy as np
import pytest

from fivestage.contract.contract import Contract
from fivestage.evaluation.daily import Floats
from fivestage.evaluation.metrics import Answers
from fivestage.monitoring.performance import Performance, estimate, judge
from tests.contract.contracts import contract_of

DAYS, ROWS = 7, 900
USUAL = np.array([1, 0, 0, 0])


@pytest.fixture(scope="module")
def contract() -> Contract:
    return contract_of("binary")


def week(seed: int, bias: float = 0.0) -> tuple[Floats, Floats, Floats]:
    """Labels, probabilities too high by `bias`, and days, of a week whose days differ."""
    draw = np.random.default_rng(seed)
    day = np.repeat(np.arange(DAYS, dtype=np.float64), ROWS)
    truth = draw.beta(2, 5, day.size)
    return (draw.random(day.size) < truth).astype(np.float64), np.clip(truth + bias, 0, 1), day


def judged(contract: Contract, label: Floats, chance: Floats, day: Floats, share: float = 1) -> Performance:
    known = np.arange(label.size) < share * label.size
    return judge(label, known, Answers(chance, chance >= contract.costs.threshold), day, USUAL, contract)


def test_a_calibrated_week_is_good(contract: Contract) -> None:
    found = judged(contract, *week(1))
    assert not found.bad
    assert found.judged[-1].beyond_chance == 0  # it loses nothing against one decision for all
    assert found.sentence.startswith("saves ")


@pytest.mark.parametrize("bias", [-0.08, 0.08])
def test_a_biased_week_is_bad(contract: Contract, bias: float) -> None:
    found = judged(contract, *week(2, bias))
    assert found.bad
    assert "off the rate" in found.sentence
    assert "at most 0.04 allowed" in found.sentence


def test_a_bias_below_what_matters_is_good(contract: Contract) -> None:
    assert not judged(contract, *week(3, 0.02)).bad


def test_a_bias_that_days_explain_is_good(contract: Contract) -> None:
    label, chance, day = week(4)
    stormy = np.where(day == 0, 1.0, label)
    found = judged(contract, stormy, chance, day)
    assert found.scored is not None
    assert abs(found.scored["bias"].value) > contract.monitoring.max_bias
    assert not found.bad


def test_a_model_that_ranks_upside_down_is_bad_though_unbiased(contract: Contract) -> None:
    label, chance, day = week(5)
    found = judged(contract, label, np.clip(2 * chance.mean() - chance, 0, 1), day)
    assert found.bad
    assert "off the rate" not in found.sentence
    assert found.sentence.startswith("loses ")


def test_nothing_is_judged_before_enough_labels_are_there(contract: Contract) -> None:
    found = judged(contract, *week(6, 0.2), share=0.8)
    assert not found.bad
    assert found.label_share == pytest.approx(0.8)
    assert found.sentence == "80% of labels have arrived, 90% are needed"
    assert judged(contract, *week(6, 0.2), share=0.95).bad


def test_labels_of_one_day_are_not_judged(contract: Contract) -> None:
    """They have no interval, so that the period was called good, with an interval from nan to nan."""
    label, chance, day = week(6, 0.2)
    found = judged(contract, label, chance, np.zeros_like(day))
    assert (found.bad, found.conclusive) == (False, False)
    assert found.sentence == "the labels are of one day, and chance shows only in several"
    assert not [one.sentence for one in found.judged if "nan" in one.sentence]


def test_without_labels_there_is_the_estimate(contract: Contract) -> None:
    found = judged(contract, *week(7), share=0)
    assert found.scored is None
    assert found.judged == ()
    assert not found.bad
    assert found.expected["roc_auc"].value > 0.5


def test_labels_that_are_not_known_are_not_read(contract: Contract) -> None:
    label, chance, day = week(8)
    known = np.arange(label.size) % 20 > 0
    unread = np.where(known, label, np.nan)
    args = (known, Answers(chance, chance >= 0.5), day, USUAL, contract)
    assert judge(unread, *args) == judge(label, *args)


def test_the_estimate_is_near_the_truth_when_probabilities_are_right(contract: Contract) -> None:
    label, chance, day = week(9)
    answers = Answers(chance, chance >= 0.5)
    expected = estimate(answers, day, contract)
    found = judge(label, np.ones(label.size, dtype=bool), answers, day, USUAL, contract).scored
    assert found is not None
    for name in ("roc_auc", "log_loss", "cost_per_1000"):
        assert expected[name].value == pytest.approx(found[name].value, rel=0.03), name
