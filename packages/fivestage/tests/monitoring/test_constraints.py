import numpy as np
import pytest

from fivestage.evaluation.daily import Floats
from fivestage.monitoring.constraints import Constraint, learn_constraint

DAYS = 40


def learnt(numbers: Floats) -> Constraint:
    """The constraint of numbers that come in turn, as many a day."""
    distinct, value = np.unique(numbers, return_inverse=True)
    day = np.repeat(np.arange(DAYS), len(numbers) // DAYS)
    found = learn_constraint(distinct, value, day, np.ones(len(numbers), dtype=np.int64))
    assert found is not None
    return found


def draw() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("numbers", "step"),
    [
        (draw().integers(-50, 50, 800) * 10.0, 1.0),
        (draw().normal(0, 9, 800).round(2), 0.01),
        (draw().integers(-50, 50, 800) * 0.1 + 0.2 - 0.2, 0.1),  # what binary fractions make of tenths
        (draw().normal(0, 9, 800).round(1).astype(np.float32).astype(np.float64), 0.1),
        (draw().normal(0, 9, 800), 0.0),
        (draw().integers(1, 99, 800) / draw().integers(1, 99, 800), 0.0),  # shares of many wholes
        (draw().normal(0, 1e12, 800).round(2), 0.0),  # more digits than single precision has
    ],
)
def test_the_widest_decimal_step_is_found(numbers: Floats, step: float) -> None:
    assert learnt(numbers).step == pytest.approx(step)
    assert not learnt(numbers).violated_by(numbers).any()
    single = numbers.astype(np.float32).astype(np.float64)
    assert not learnt(numbers).violated_by(single).any()


def test_more_decimals_are_a_violation_where_values_were_well_seen() -> None:
    rule = learnt(np.append(draw().integers(50, 90, 798), [0, 200]).astype(np.float64))
    assert rule.violated_by(np.array([60.5, 60.0, 20.5, np.nan, np.inf])).tolist() == [True, *[False] * 4]


def test_bounds_are_what_most_days_touch() -> None:
    counts = draw().poisson(3, 800).astype(np.float64)
    rule = learnt(counts)
    assert rule.bounds == (0.0, np.inf)
    assert rule.violated_by(np.array([-1.0, 0.0, 99.0])).tolist() == [True, False, False]
    assert learnt(np.minimum(counts, 5)).step == 0.0  # six numbers are too few to know decimals from
    warm = np.repeat(np.linspace(2, 30, DAYS), 20) + draw().normal(0, 1, 800)
    assert np.isinf(learnt(warm).bounds).all()
