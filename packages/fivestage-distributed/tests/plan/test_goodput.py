import pytest

from fivestage_distributed.plan.search import (
    daly_interval,
    expected_goodput,
    goodput_of_failures,
    young_interval,
)


def test_young_and_daly_agree_where_checkpoints_are_cheap() -> None:
    assert young_interval(2, 10_000) == pytest.approx(200)
    assert daly_interval(2, 10_000) == pytest.approx(198.7, abs=0.1)
    assert daly_interval(50, 20) == 20


def test_no_interval_is_better_than_dalys() -> None:
    best = daly_interval(10, 3_600)
    found = {share: expected_goodput(best * share, 10, 60, 3_600) for share in (0.5, 0.8, 1, 1.25, 2)}
    assert max(found, key=found.__getitem__) == 1


def test_goodput_counts_lost_work_restarts_and_checkpoints() -> None:
    assert expected_goodput(100, 1, 1, 1e9) == pytest.approx(100 / 101, rel=1e-6)
    assert goodput_of_failures(100, 10, 2, 15, 10) == pytest.approx(100 / 150)
