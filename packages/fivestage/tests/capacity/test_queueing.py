import math

import numpy as np
import pytest

from fivestage.capacity.plan import probability_up, split_p99


def test_more_than_can_be_served_waits_without_end() -> None:
    assert math.isinf(split_p99(3.0, 1.0, 3))


def test_the_tail_is_that_of_simulated_queues() -> None:
    """Three separate queues, each request sent to a random one: Lindley's recursion."""
    rng, rate, served, servers, count = np.random.default_rng(5), 150.0, 100.0, 3, 400_000
    arrivals = np.cumsum(rng.exponential(1 / rate, count))
    chosen = rng.integers(servers, size=count)
    times = []
    for server in range(servers):
        at = arrivals[chosen == server]
        service = rng.exponential(1 / served, len(at))
        # The wait grows by what the one before still needed when this one came, and is never below zero.
        steps = np.cumsum(np.concatenate([[0.0], service[:-1] - np.diff(at)]))
        times.append(steps - np.minimum.accumulate(steps) + service)
    assert np.quantile(np.concatenate(times), 0.99) == pytest.approx(
        split_p99(rate, served, servers), rel=0.05
    )


def test_the_chance_that_enough_are_up() -> None:
    assert probability_up(1, 2, 0.9) == pytest.approx(0.99)
    assert probability_up(2, 2, 0.9) == pytest.approx(0.81)
    assert probability_up(2, 3, 0.9) == pytest.approx(0.729 + 3 * 0.81 * 0.1)
