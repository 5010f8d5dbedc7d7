"""The comparison of a canary with the stable version: each check fires on its own."""

from collections import Counter
from dataclasses import replace

import httpx
import numpy as np
import pytest

from fivestage.common.columns import Floats
from fivestage.deployment.canary import Observation, Traffic, compare, parse_traffic, probe_in_turns
from fivestage.deployment.kubernetes_release import PROBES
from tests.synthetic import changed, synthetic_problem

CONTRACT = changed(synthetic_problem("binary").contract, gates={"max_bias": 0.05})


def traffic(rows: int, acted: int, failed: int = 0) -> Traffic:
    return Counter(
        {"requests": rows, "failed": failed, "decision: act": acted, "decision: wait": rows - acted}
    )


SEEN = Observation(
    milliseconds=tuple(5.0 + i % 10 for i in range(200)),
    predictions=tuple((0.1 + i % 5 / 10,) for i in range(200)),
    distinct_rows=10,
    traffic=traffic(1000, 300),
)
EXPOSITION = """
# TYPE http_requests counter
http_requests_total{method="POST",handler="/predict",status="200"} 90
http_requests_total{method="POST",handler="/predict",status="422"} 6
http_requests_total{method="POST",handler="/predict",status="503"} 4
http_requests_total{method="GET",handler="/metrics",status="503"} 9
# TYPE predictions counter
predictions_total{model_version="1",decision="act"} 30
predictions_total{model_version="1",decision="wait"} 70
"""


def failing(canary: Observation) -> list[str]:
    return [one.name for one in compare(canary, SEEN, CONTRACT) if not one.passed]


def test_the_same_answers_pass() -> None:
    assert failing(SEEN) == []


def test_one_failed_request_in_two_hundred_is_more_than_the_objective_allows() -> None:
    assert failing(replace(SEEN, predictions=((), *SEEN.predictions[1:]))) == ["errors"]


@pytest.mark.parametrize(("failed", "names"), [(1, []), (3, ["errors"])])
def test_live_traffic_counts_too(failed: int, names: list[str]) -> None:
    assert failing(replace(SEEN, traffic=traffic(1000, 300, failed))) == names


@pytest.mark.parametrize(("times", "names"), [(1.4, []), (1.6, ["latency"])])
def test_slower_than_the_stable_version(times: float, names: list[str]) -> None:
    slower = tuple(times * one for one in SEEN.milliseconds)
    assert failing(replace(SEEN, milliseconds=slower)) == names


def test_few_smoke_rows_are_posted_as_often_as_the_latency_check_needs() -> None:
    """With 5 rows there were 200 probes, of which 2% slow ones pass as noise."""
    rows = [{"row": number} for number in range(7)]
    posted: list[Counter[bytes]] = [Counter(), Counter()]

    def client(seen: Counter[bytes]) -> httpx.Client:
        def answer(request: httpx.Request) -> httpx.Response:
            seen[request.content] += 1
            return httpx.Response(503)

        return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://service")

    found = probe_in_turns([client(one) for one in posted], rows, PROBES)
    assert [set(one.values()) for one in posted] == [{138}] * 2
    assert [len(one.milliseconds) for one in found] == [7 * 138] * 2


def test_a_slow_machine_is_not_the_canary_s_fault() -> None:
    slow = replace(SEEN, milliseconds=tuple(50 * one for one in SEEN.milliseconds))
    assert [one.name for one in compare(slow, slow, CONTRACT) if not one.passed] == []


def refused_for_latency(canary: Floats, stable: Floats) -> bool:
    mine, other = (replace(SEEN, milliseconds=tuple(one.tolist())) for one in (canary, stable))
    return [one.name for one in compare(mine, other, CONTRACT) if not one.passed] == ["latency"]


def busy(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Latencies of 5 ms, of which one in fifty is delayed, by 60 ms on average."""
    return 5.0 + (random.random(shape) < 0.02) * random.exponential(60, shape)


def test_a_slow_tail_fails() -> None:
    calm = np.array(5 * SEEN.milliseconds)
    tail = np.where(np.arange(len(calm)) % 50 == 0, 100.0, calm)  # 2%
    assert refused_for_latency(tail, calm)


def test_noise_of_a_busy_machine_refuses_hardly_any_canary() -> None:
    drawn = busy(np.random.default_rng(1), (200, 2, PROBES))
    assert sum(refused_for_latency(*pair) for pair in drawn) <= 2 + 0.01 * len(drawn)


def test_a_slow_tail_fails_on_a_busy_machine_too() -> None:
    random = np.random.default_rng(2)
    drawn = busy(random, (50, 2, PROBES))
    drawn[:, 0] += 200 * (random.random((50, PROBES)) < 0.05)
    assert all(refused_for_latency(*pair) for pair in drawn)


@pytest.mark.parametrize(("shift", "names"), [(0.04, []), (0.06, ["distribution"])])
def test_a_mean_that_moved(shift: float, names: list[str]) -> None:
    moved = tuple((one + shift,) for (one,) in SEEN.predictions)
    assert failing(replace(SEEN, predictions=moved)) == names


def test_rows_that_a_retrained_model_moves_to_and_fro_are_no_shift() -> None:
    scattered = tuple(
        (one + 0.06 + (-0.15, 0.15)[place % 2],) for place, (one,) in enumerate(SEEN.predictions)
    )
    assert failing(replace(SEEN, predictions=scattered)) == []
    shifted = tuple((one + 0.3,) for (one,) in scattered)
    assert failing(replace(SEEN, predictions=shifted)) == ["distribution"]


def test_a_shift_that_comes_of_a_missing_history_says_so() -> None:
    moved = tuple((one + 0.3,) for (one,) in SEEN.predictions)
    (check,) = (
        one
        for one in compare(replace(SEEN, predictions=moved), replace(SEEN, without_history=50), CONTRACT)
        if not one.passed
    )
    assert "the stable version lacks the history for 25% of its answers" in check.sentence
    assert "canary" not in check.sentence


@pytest.mark.parametrize(
    ("rows", "acted", "names"), [(1000, 400, []), (1000, 450, ["distribution"]), (400, 200, [])]
)
def test_live_decisions_count_where_there_are_enough(rows: int, acted: int, names: list[str]) -> None:
    assert failing(replace(SEEN, traffic=traffic(rows, acted))) == names


def test_a_pod_s_metrics_are_read() -> None:
    found = parse_traffic(EXPOSITION)
    assert found == {"requests": 100, "failed": 4, "decision: act": 30, "decision: wait": 70}
    assert found + found - found == found
    assert found - (found + found) == Counter()  # a pod has gone
