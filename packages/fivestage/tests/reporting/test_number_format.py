import math
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivestage.evaluation.metrics import Estimate
from fivestage.reporting import number_format as fmt

NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("roc_auc", 0.75512, "0.755"),
        ("savings_share", 0.2744, "27.4%"),
        ("savings_share", 1.0, "100%"),
        ("cost_per_1000", 160_203.7, "160,204"),
        ("bias", -0.0041, "−0.004"),  # noqa: RUF001
        ("bias", 0.02, "+0.020"),
        ("rows", 84_000, "84,000"),
        ("roc_auc", NAN, "–"),  # noqa: RUF001
        ("savings_share", NAN, "–"),  # noqa: RUF001
    ],
)
def test_metrics_have_their_own_form(name: str, value: float, shown: str) -> None:
    assert fmt.metric(name, value) == shown


def test_an_interval_is_shown_where_there_is_one() -> None:
    assert fmt.estimate("roc_auc", Estimate(0.755, 0.73, 0.773)) == "0.755 (0.730 to 0.773)"
    assert fmt.estimate("roc_auc", Estimate(0.755)) == "0.755"
    assert fmt.estimate("rows", Estimate(10, 8, 12)) == "10"
    assert fmt.estimate("cost_per_1000", Estimate(0, 0, 0)) == "0"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1 min 00 s"), (119.7, "2 min 00 s"), (NAN, "–")],  # noqa: RUF001
)
def test_durations(value: float, shown: str) -> None:
    assert fmt.seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(2.2e-16, "2.2e−16"), (5.0, "5"), (0.0721, "0.0721"), (160_204.2, "160,204"), (999.9, "1,000")],  # noqa: RUF001
)
def test_numbers_of_unknown_size(value: float, shown: str) -> None:
    assert fmt.compact(value) == shown


@given(st.floats(-1e300, 1e300) | st.sampled_from([NAN, math.inf, -math.inf]))
def test_no_number_is_shown_as_a_word_of_the_machine(value: float) -> None:
    for form in (fmt.count, fmt.decimal, fmt.compact, fmt.percent, fmt.seconds):
        shown = form(value)
        assert "nan" not in shown
        assert "inf" not in shown
        assert (shown == fmt.NONE) == (not math.isfinite(value))


def test_metrics_come_in_one_order_and_unknown_ones_last() -> None:
    assert fmt.in_order({"rows": 1.0, "own": 2.0, "roc_auc": 3.0}) == ["roc_auc", "rows", "own"]


def test_digests_are_cut_and_words_are_not() -> None:
    assert fmt.short("ab" * 32) == "abababababab"
    assert fmt.short("a branch with a long name") == "a branch with a long name"


def test_dates_and_plurals() -> None:
    assert fmt.day(date(2013, 10, 1)) == "1 Oct 2013"
    assert (fmt.plural(1, "row"), fmt.plural(1200, "row")) == ("1 row", "1,200 rows")
