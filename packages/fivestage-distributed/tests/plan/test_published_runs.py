"""Predictions are within the stated error of published runs, without constants for single rows."""

from statistics import median

import pytest

from fivestage_distributed.plan.catalog import find_model
from fivestage_distributed.plan.page import trust, trust_in_experts
from fivestage_distributed.plan.published import (
    compare,
    fitted_share,
    fitted_shares,
    published_runs,
    quantile_of_error,
)
from fivestage_distributed.plan.roofline import KERNEL_SHARE


def errors(name: str) -> list[float]:
    """Return the errors of a source that was excluded from the fit."""
    return [one.error for one in compare() if one.run.name == name]


def test_the_one_constant_is_what_all_sources_give() -> None:
    assert pytest.approx(fitted_share(), abs=0.005) == KERNEL_SHARE
    assert len(fitted_shares()) > 20


@pytest.mark.parametrize(
    ("name", "within"),
    [("Megatron-LM 2021", 0.15), ("Llama 3 405B", 0.15), ("BLOOM 176B", 0.1), ("OPT-175B", 0.1),
     ("PaLM 540B", 0.1), ("MT-NLG 530B", 0.2), ("GPT-NeoX-20B", 0.25), ("MegaScale", 0.2)],
)  # fmt: skip
def test_the_named_tables_are_predicted(name: str, within: float) -> None:
    assert errors(name)
    assert max(map(abs, errors(name))) < within


def test_the_stated_errors() -> None:
    assert quantile_of_error(0.5) < 0.1
    assert quantile_of_error(0.8) < 0.15
    speeds = [abs(one.error) for one in compare() if one.run.name in fitted_shares()]
    assert median(speeds) < 0.1
    assert max(speeds) < 0.4


def test_nothing_is_fitted_to_the_runs_that_were_collected_afterwards() -> None:
    held_out = [one for one in compare() if one.run.held_out]
    assert len({one.run.name for one in held_out}) >= 15
    assert not {one.run.name for one in held_out} & set(fitted_shares())
    assert {one.kernel_share for one in held_out} == {fitted_share()}
    speeds = [one for one in held_out if not one.run.whole]
    assert median(abs(one.error) for one in speeds) < 0.15
    assert median(abs(one.error) for one in speeds if not one.run.model.experts) < 0.11
    assert f"the largest {max(abs(one.error) for one in speeds):.0%}" in trust()


def test_a_mixture_of_experts_says_how_far_its_prediction_is_off() -> None:
    assert trust_in_experts(find_model("70b")) == ""
    assert "many small experts" in trust_in_experts(find_model("deepseek-v3"))


def test_whole_runs_took_longer_than_their_steps_and_are_not_fitted_to() -> None:
    whole = [one for one in compare() if one.run.whole]
    assert len(whole) >= 10
    assert all(one.error > 0 for one in whole)
    assert not {one.run.name for one in whole} & set(fitted_shares())


def test_a_source_does_not_fit_its_own_prediction() -> None:
    shares = fitted_shares()
    for one in compare():
        others = [share for name, share in shares.items() if name != one.run.name]
        assert one.kernel_share == median(others)


def test_every_run_says_where_it_is_published() -> None:
    assert all(run.source and run.value > 0 and run.layouts for run in published_runs())


@pytest.mark.parametrize("unit", ["seconds", "tokens", "mfu", "tflops_recomputed", "gpu_hours"])
def test_a_faster_prediction_is_an_error_above_zero(unit: str) -> None:
    run = next(run for run in published_runs() if run.unit == unit)
    assert run.error(1.0) > run.error(0.5)
    assert run.error(run.fitted()) == pytest.approx(0, abs=1e-6)
