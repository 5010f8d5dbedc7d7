"""The search for a layout, and what a whole run takes."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fivestage.common.errors import UserError
from fivestage_distributed.plan.catalog import find_accelerator, find_model
from fivestage_distributed.plan.page import reasons
from fivestage_distributed.plan.roofline import Stack
from fivestage_distributed.plan.search import (
    GIB,
    Job,
    described,
    expected_goodput,
    least_gpus,
    require_fitting,
    runners_up,
    search,
    whole_run,
)


def job(model: str = "8b", gpus: int = 64, accelerator: str = "h100", **other: object) -> Job:
    """A small job."""
    usual = {"tokens": 1e11, "sequence": 8192, "batch": 256, "stack": Stack(), "price": 2.0}
    usual |= {"hours_per_failure": 50_000.0}
    return Job(find_model(model), find_accelerator(accelerator), gpus=gpus, **(usual | other))  # type: ignore[arg-type]


def test_the_best_layout_fits_and_is_the_fastest() -> None:
    found = search(job())
    best = found.fitting[0]
    assert best.layout.gpus == 64
    assert best.memory.total < 80 * GIB
    assert all(one.kept <= best.kept <= best.rate for one in found.fitting)
    others = runners_up(found, 3)
    assert len({(one.layout.tp, one.layout.pp, one.layout.cp, one.layout.zero) for one in others}) == 3


def test_reasons_name_what_other_layouts_lose() -> None:
    told = reasons(search(job("70b", 64)))
    assert any("slower" in one for one in told)
    assert any("does not fit, as it needs" in one for one in reasons(search(job("405b", 512))))


@given(
    st.sampled_from(["8b", "13b", "70b", "mixtral"]),
    st.sampled_from(["a100", "h100", "h200"]),
    st.integers(1, 6),
)
@settings(max_examples=8, deadline=None)
def test_more_gpus_never_need_more_memory_per_gpu(model: str, accelerator: str, power: int) -> None:
    """Of the layout with the least memory."""

    def leanest(gpus: int) -> float:
        found = search(job(model, gpus, accelerator, batch=1024))
        return min(
            [one.memory.total for one in found.fitting] + [needed.total for _, needed in found.too_large]
        )

    gpus = 2**power
    assert leanest(2 * gpus) <= leanest(gpus) * (1 + 1e-9)


@given(st.floats(0.1, 20), st.floats(1.01, 5))
@settings(max_examples=8, deadline=None)
def test_cost_grows_with_price_tokens_and_failures(price: float, times: float) -> None:
    one = job(price=price)
    best = search(one).fitting[0]
    run = whole_run(one, best)
    assert whole_run(replace(one, price=times * price), best).cost == pytest.approx(times * run.cost)
    more = whole_run(replace(one, tokens=times * one.tokens), best)
    assert more.cost == pytest.approx(times * run.cost)
    assert more.days == pytest.approx(times * run.days)
    worse = whole_run(replace(one, hours_per_failure=one.hours_per_failure / times), best)
    assert worse.cost > run.cost
    assert worse.goodput < run.goodput


def test_units_of_a_run() -> None:
    one = job()
    run = whole_run(one, search(one).fitting[0])
    seconds = run.days * 86400
    assert run.gpu_hours == pytest.approx(64 * seconds / 3600)
    assert run.cost == pytest.approx(run.gpu_hours * one.price)
    assert run.megawatt_hours == pytest.approx(run.gpu_hours * 1275 / 1e6)
    assert seconds * run.goodput * run.candidate.rate == pytest.approx(one.tokens)
    assert run.steps * run.candidate.step.total == pytest.approx(seconds * run.goodput)
    assert run.mfu == pytest.approx(run.tflops / 989)
    assert run.failures == pytest.approx(run.days * 24 / run.hours_between_failures)
    assert run.checkpoint_seconds == pytest.approx(14 * one.model.parameters / 8e9)  # 64 GPUs at 1/8 GB/s


def test_the_interval_of_checkpoints_loses_the_least() -> None:
    one = job("70b", 1024)
    run = whole_run(one, search(one).fitting[0])
    between, restart = run.hours_between_failures * 3600, one.restart_seconds
    for other in (0.5, 0.8, 1.25, 2):
        interval = other * run.interval_seconds
        assert expected_goodput(interval, run.checkpoint_seconds, restart, between) < run.goodput


def test_failures_that_leave_no_time_are_told() -> None:
    one = job("8b", 64, hours_per_failure=0.1)
    with pytest.raises(
        UserError, match=r"A failure every 6 s leaves no time to train: a restart takes 600 s"
    ):
        whole_run(one, search(one).fitting[0])


def test_a_model_that_does_not_fit_says_the_least_number_of_gpus_that_does() -> None:
    one = job("70b", 8)
    with pytest.raises(UserError, match=r"does not fit 8 h100: .* most of it optimizer.* Use at least 24\."):
        require_fitting(one, search(one))
    assert least_gpus(one) == 24
    enough = replace(one, gpus=24, batch=24)
    assert require_fitting(enough, search(enough)).fitting
    short = replace(one, gpus=16, batch=16)
    assert not search(short).fitting


def test_gpus_that_do_not_divide_the_batch_are_told() -> None:
    one = job("8b", 2048, batch=1)
    with pytest.raises(
        UserError, match=r"No layout of 2,048 GPUs divides 32 layers, 32 heads and a batch of 1 sequences"
    ):
        require_fitting(one, search(one))


def test_far_too_many_gpus_stand_by_rather_than_fail() -> None:
    """More working GPUs would gain a little speed, and lose more to failures."""
    runs = [
        whole_run(one, search(one).fitting[0])
        for one in (job("70b", gpus, batch=512) for gpus in (16_384, 100_000))
    ]
    assert runs[1].days <= runs[0].days * (1 + 1e-9)
    assert runs[1].goodput > 0.9


def test_gpus_stand_by_where_the_batch_has_nothing_for_them() -> None:
    one = job("70b", 16384, batch=512)
    run = whole_run(one, search(one).fitting[0])
    assert run.candidate.layout.gpus < 16384
    assert run.spare == 16384 - run.candidate.layout.gpus
    assert run.gpu_hours == pytest.approx(16384 * run.days * 24)  # those that stand by are paid for


@pytest.mark.parametrize("gpus", [24, 100, 1000, 1016])
def test_odd_numbers_of_gpus_have_a_layout(gpus: int) -> None:
    one = job("70b", gpus, batch=512)
    run = whole_run(one, search(one).fitting[0])
    done = run.candidate.rate * run.candidate.step.total / one.sequence
    assert done == pytest.approx(512, rel=1 / 16)  # sequences of a step
    assert run.mfu > 0.3


def test_a_layout_that_is_decided_is_kept() -> None:
    found = search(job("8b", 64, fixed={"tp": 2, "pp": 2, "recompute": "full"}))
    assert {(one.layout.tp, one.layout.pp, one.layout.recompute) for one in found.fitting} == {(2, 2, "full")}
    assert "dp 16 x tp 2 x pp 2" in described(found.fitting[0].layout)


def test_more_gpus_are_faster_and_cost_more_each_token() -> None:
    runs = [whole_run(one, search(one).fitting[0]) for one in (job("70b", gpus) for gpus in (64, 256, 1024))]
    assert [run.days for run in runs] == sorted((run.days for run in runs), reverse=True)
    assert runs[0].cost < runs[2].cost
    assert runs[0].hours_between_failures > runs[2].hours_between_failures


def test_twice_the_gpus_are_never_slower() -> None:
    """Half of the GPUs stand by, as the batch has too few sequences for them."""
    runs = [
        whole_run(one, search(one).fitting[0])
        for one in (job("70b", 2**power, batch=512) for power in range(6, 15))
    ]
    for fewer, more in pairwise(runs):
        assert more.candidate.rate >= fewer.candidate.rate * (1 - 1e-9)
    assert runs[-1].spare > 0
