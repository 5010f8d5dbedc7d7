import pytest

from fivestage_distributed.ring import AlphaBeta, RingTime, fit_alpha_beta, measure_ring


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_each_process_sends_exactly_the_share_that_a_ring_needs(processes: int) -> None:
    (found,) = measure_ring(processes, sizes=(48 * 1024,), repeats=1)
    assert found.sent * processes == 2 * (processes - 1) * found.size


@pytest.mark.parametrize("processes", [2, 4])
def test_the_ring_sums_as_the_library_does(processes: int) -> None:
    for found in measure_ring(processes, sizes=(64, 4_000, 400_000), repeats=1):
        assert found.error <= 1e-6


def test_the_cost_model_finds_the_constants_that_made_the_times() -> None:
    true = AlphaBeta(2e-4, 1e9, 0.0)
    times = [RingTime(size, 0, true.seconds(size, 4), 0.0, 0.0) for size in (1_000, 100_000, 10_000_000)]
    found = fit_alpha_beta(times, 4)
    assert found.alpha == pytest.approx(true.alpha)
    assert found.bandwidth == pytest.approx(true.bandwidth)
    assert found.error == pytest.approx(0.0, abs=1e-9)
