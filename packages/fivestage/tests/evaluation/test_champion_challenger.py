"""A test for each gate: it passes in the good case, fails alone in its bad case, and says why."""

import time
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from fivestage.common.clock import DAY
from fivestage.common.columns import Floats
from fivestage.contract.contract import Contract
from fivestage.evaluation import champion_challenger
from fivestage.evaluation.champion_challenger import TIMED_ROWS, Evidence, row_milliseconds, run_gates
from fivestage.evaluation.gates import Gate, Probe
from fivestage.evaluation.metrics import Answers
from tests.contract.contracts import contract_of
from tests.synthetic import FEATURES, changed, prepared, synthetic_artifact

DAYS = 20
SHOPS, CHANNELS = ("north", "south", "east"), ("web", "phone", "shop")
# A block has 30 rows: 20 calm ones, of which 2 fail, and 10 stormy ones, of which 6 fail. Always waiting
# costs 6,000, always acting 6,900, acting in storms 4,800 and the oracle 3,600: acting in storms brings half
# of the achievable savings.
STORM = np.repeat([False, True], [20, 10])
TRUTH = np.r_[np.ones(2), np.zeros(18), np.ones(6), np.zeros(4)].astype(np.int64)
BLOCKS = DAYS * len(SHOPS) * len(CHANNELS)
PASSED = Probe("future is unseen", passed=True, sentence="nothing moved")
NO_CHAMPION = "there is no champion yet"
GOOD = Evidence({"prior": 0.0, "historical_rate": 0.2, "logistic_regression": 0.3}, (PASSED,), 0.5)

Gates = dict[str, Gate]


@pytest.fixture(scope="module")
def contract() -> Contract:
    sliced = contract_of("binary").model_copy(update={"slices": ("customer", "channel")})
    return changed(sliced, gates={"max_slice_loss": 0.1, "max_loss_standard_errors": 1.5})


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    keys = pd.MultiIndex.from_product([range(DAYS), SHOPS, CHANNELS, range(len(TRUTH))])
    day, customer, channel, _ = (keys.get_level_values(level).to_numpy() for level in range(4))
    return pd.DataFrame(
        {
            "decision_at": day.astype(np.int64) * DAY,
            "customer": customer,
            "channel": channel,
            "failed": np.tile(TRUTH, BLOCKS),
        }
    )


def answers(calm: float, storm: float, threshold: float = 1 / 3) -> Answers:
    return decided(np.tile(np.where(STORM, storm, calm), BLOCKS), threshold)


def decided(forecast: Floats, threshold: float) -> Answers:
    return Answers(forecast, forecast >= threshold)


HONEST = answers(0.1, 0.6)
WAITING = answers(0.25, 0.25)


def gates(
    rows: pd.DataFrame,
    contract: Contract,
    challenger: Answers = HONEST,
    champion: Answers | str = WAITING,
    evidence: Evidence = GOOD,
) -> Gates:
    return {gate.name: gate for gate in run_gates(rows, challenger, champion, evidence, contract).gates}


def fails_alone(found: Gates, name: str) -> Gate:
    assert [gate.name for gate in found.values() if not gate.passed] == [name]
    return found[name]


@pytest.mark.parametrize("champion", [NO_CHAMPION, WAITING])
def test_an_honest_challenger_passes_every_gate(
    rows: pd.DataFrame, contract: Contract, champion: Answers | str
) -> None:
    found = gates(rows, contract, champion=champion)
    assert all(gate.passed for gate in found.values()), found
    assert list(found) == [
        "no leak",
        "plausible",
        "better than the baselines",
        "calibrated",
        "unbiased",
        "fast enough",
        "cheaper than the champion",
        "no slice is worse off",
    ]


def test_a_leak_stops_it(rows: pd.DataFrame, contract: Contract) -> None:
    leak = Probe(
        "future is unseen",
        passed=False,
        sentence="landed_at changed when everything after the decision was scrambled",
    )
    gate = fails_alone(gates(rows, contract, evidence=replace(GOOD, probes=(PASSED, leak))), "no leak")
    assert gate.sentence == leak.sentence
    assert gate.value == 1


def test_no_probe_is_no_proof(rows: pd.DataFrame, contract: Contract) -> None:
    gate = fails_alone(gates(rows, contract, evidence=replace(GOOD, probes=())), "no leak")
    assert gate.sentence == "no leakage probe ran"


def test_where_one_class_alone_has_come_the_gates_say_that_nothing_can_be_told(
    rows: pd.DataFrame, contract: Contract
) -> None:
    found = gates(rows.assign(failed=0.0), contract)
    for name in ("plausible", "better than the baselines"):
        assert not found[name].passed
        assert "all labels" in found[name].sentence
        assert "split.holdout_days" in found[name].sentence


def test_too_good_is_a_leak(rows: pd.DataFrame, contract: Contract) -> None:
    leaky = rows.assign(failed=np.tile(np.r_[np.zeros(20), np.ones(8), np.zeros(2)], BLOCKS))
    gate = fails_alone(gates(leaky, contract, answers(0.0, 0.8)), "plausible")
    assert gate.value == pytest.approx(0.5 + (1 - 2 / 22) / 2)
    assert gate.sentence == "ROC-AUC 0.955; above 0.8 a leak is suspected"


@pytest.mark.parametrize(
    ("baseline", "saves", "required"),
    [("prior", 0.41, "51.0%"), ("historical_rate", 0.41, "51.0%"), ("logistic_regression", 0.51, "51.0%")],
)
def test_each_baseline_must_be_beaten_by_its_margin(
    rows: pd.DataFrame, contract: Contract, baseline: str, saves: float, required: str
) -> None:
    def found(share: float) -> Gates:
        baselines = cast("Any", {**GOOD.baselines, baseline: share})
        return gates(rows, contract, evidence=replace(GOOD, baselines=baselines))

    gate = fails_alone(found(saves), "better than the baselines")
    assert gate.value == pytest.approx(0.5)
    assert gate.sentence.startswith("saves 50.0% of the achievable savings; ")
    shown = baseline.replace("_", " ")
    assert f"{shown} {saves:.1%} (at least {required} required)" in gate.sentence
    assert found(saves - 0.02)["better than the baselines"].passed


def test_probabilities_that_exaggerate_are_not_calibrated(rows: pd.DataFrame, contract: Contract) -> None:
    gate = fails_alone(gates(rows, contract, answers(0.05, 0.7)), "calibrated")
    assert gate.sentence == "calibration error 0.067, at most 0.06 allowed"


def test_probabilities_that_are_all_too_high_are_biased(rows: pd.DataFrame, contract: Contract) -> None:
    strict = changed(contract, gates={"max_bias": 0.02})
    for shift in (0.03, -0.03):
        gate = fails_alone(gates(rows, strict, answers(0.1 + shift, 0.6 + shift)), "unbiased")
        assert gate.sentence == "the mean prediction is 0.030 off the rate, at most 0.02 allowed"
    assert gates(rows, strict, answers(0.11, 0.61))["unbiased"].passed


def test_a_slow_challenger_is_stopped(rows: pd.DataFrame, contract: Contract) -> None:
    gate = fails_alone(gates(rows, contract, evidence=replace(GOOD, row_ms=5.01)), "fast enough")
    assert gate.sentence == "one row takes 5.01 ms, at most 5 ms allowed"


def test_the_same_answers_are_not_cheaper(rows: pd.DataFrame, contract: Contract) -> None:
    gate = fails_alone(gates(rows, contract, champion=HONEST), "cheaper than the champion")
    assert gate.sentence.startswith("costs the same as the champion on every day;")


def test_savings_are_counted_against_the_champion(rows: pd.DataFrame, contract: Contract) -> None:
    gate = gates(rows, contract)["cheaper than the champion"]
    assert gate.value == pytest.approx((6000 - 4800) / 30 * 1000)
    assert gate.line.startswith("pass  cheaper than the champion: saves ")


def test_a_challenger_that_costs_more_is_not_said_to_save(rows: pd.DataFrame, contract: Contract) -> None:
    gate = gates(rows, contract, WAITING, champion=HONEST)["cheaper than the champion"]
    assert not gate.passed
    assert gate.sentence.startswith(
        "costs 40,000 USD more per 1,000 decisions than the champion (savings: -40,000 to -40,000); the mean"
    )


def test_without_a_champion_its_gate_is_not_applicable(rows: pd.DataFrame, contract: Contract) -> None:
    gate = gates(rows, contract, champion=NO_CHAMPION)["cheaper than the champion"]
    assert gate.passed
    assert gate.line == "n/a   cheaper than the champion: not applicable: there is no champion yet"
    why = "the champion, version 1, cannot predict: of an older format."
    gate = gates(rows, contract, champion=why)["cheaper than the champion"]
    assert gate.sentence == f"not applicable: {why}"


def test_each_artifact_decides_by_its_own_threshold(rows: pd.DataFrame, contract: Contract) -> None:
    timid = answers(0.1, 0.6, threshold=0.7)
    gate = gates(rows, contract, champion=timid)["cheaper than the champion"]
    assert gate.value == pytest.approx((6000 - 4800) / 30 * 1000)
    assert not gates(rows, contract, timid)["better than the baselines"].passed


def test_champion_and_challenger_are_paired_by_day(contract: Contract) -> None:
    """The mean saving is the same in both cases; only its distribution over days differs."""
    contract = changed(contract, gates={"max_loss_standard_errors": 0.0})
    days, better, worse = 10, 40, 70  # a better row saves 300, a worse one (a false alarm) costs 150
    label = np.repeat([1, 0], [better, worse])
    champion, challenger = decided(np.zeros(label.size), 0.5), decided(np.ones(label.size), 0.5)

    def gate(day: Any) -> Gate:
        rows = pd.DataFrame({"decision_at": np.asarray(day) * DAY})
        return champion_challenger._against_champion(rows, label, challenger, champion, contract)

    spread = gate(np.r_[np.arange(better) % days, np.arange(worse) % days])
    lumped = gate(np.r_[np.zeros(better, dtype=np.int64), 1 + np.arange(worse) % (days - 1)])
    assert spread.value == pytest.approx(lumped.value) == pytest.approx(1500 / label.size * 1000)
    assert spread.passed
    assert "(13,636 to 13,636)" in spread.sentence
    assert not lumped.passed
    assert "champion (-" in lumped.sentence
    assert "the mean must be above 0 and the lower end at least -1,000" in lumped.sentence


@pytest.mark.parametrize(("mean", "passes"), [(0.1, False), (0.5, True), (-0.1, False)])
def test_what_a_challenger_may_lose_grows_with_the_noise_of_its_days(
    contract: Contract, mean: float, *, passes: bool
) -> None:
    """The mean saving of the days is `mean` standard errors; a fixed tolerance would refuse all cases."""
    days = 30
    noise = np.resize([1.0, -1.0], days) * 60
    saved = noise + mean * noise.std() / np.sqrt(days)
    rows = pd.DataFrame({"decision_at": np.arange(days) * DAY})

    def gate(times: float) -> Gate:
        costs = iter([saved, np.zeros(days)])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(champion_challenger, "_costs", lambda *_: next(costs))
            tolerant = changed(contract, gates={"max_loss_standard_errors": times})
            return champion_challenger._against_champion(rows, np.zeros(days), HONEST, HONEST, tolerant)

    assert gate(1.5).passed is passes
    assert not gate(0.0).passed


@pytest.fixture(scope="module")
def unfair(rows: pd.DataFrame) -> Answers:
    """A challenger that always acts on one channel, a third of the rows, and is good on the others."""
    alarmed = (rows["channel"] == "shop").to_numpy()
    return decided(np.where(alarmed, 0.34, HONEST.forecast), 1 / 3)


@pytest.mark.parametrize(
    ("champion", "other"), [(NO_CHAMPION, "the best constant decision"), (WAITING, "the champion")]
)
def test_no_slice_pays_for_the_others(
    rows: pd.DataFrame, contract: Contract, unfair: Answers, champion: Answers | str, other: str
) -> None:
    evidence = replace(GOOD, baselines={"prior": 0.0, "historical_rate": 0.0, "logistic_regression": 0.0})
    gate = fails_alone(gates(rows, contract, unfair, champion, evidence), "no slice is worse off")
    assert gate.value == pytest.approx(6900 / 6000 - 1)
    assert (
        gate.sentence
        == f"the worst slice, channel shop, costs 15.0% more than {other}; at most 10% more is allowed"
    )


def test_rows_without_a_value_are_a_slice_too(
    rows: pd.DataFrame, contract: Contract, unfair: Answers
) -> None:
    unknown = rows.assign(channel=rows["channel"].where(rows["channel"] != "shop"))
    gate = gates(unknown, contract, unfair)["no slice is worse off"]
    assert not gate.passed
    assert "channel missing" in gate.sentence


def test_small_slices_are_left_to_chance(rows: pd.DataFrame, contract: Contract, unfair: Answers) -> None:
    channel = DAYS * len(SHOPS) * len(TRUTH)
    at_least = changed(contract, gates={"min_slice_rows": channel})
    assert not gates(rows, at_least, unfair)["no slice is worse off"].passed
    more = changed(contract, gates={"min_slice_rows": len(rows) + 1})
    gate = gates(rows, more, unfair)["no slice is worse off"]
    assert gate.passed
    assert gate.sentence == f"not applicable: no slice of the window has {len(rows) + 1} rows"


def test_a_slice_that_cost_nothing_is_measured_by_what_rows_cost_on_average(
    rows: pd.DataFrame, contract: Contract
) -> None:
    calm = rows.assign(failed=np.where(rows["channel"] == "shop", 0, rows["failed"]))
    gate = gates(calm, contract)["no slice is worse off"]
    assert not gate.passed
    assert gate.value == pytest.approx(0.375)
    assert "channel shop" in gate.sentence


def test_one_row_at_a_time_is_timed_and_an_outlier_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[Any]] = []

    class Slow:
        def __init__(self, *_: Any) -> None:
            pass

        def predict(self, rows: list[Any]) -> None:
            asked.append(rows)
            time.sleep(0.05 if len(asked) == 1 else 0.001)

    monkeypatch.setattr(champion_challenger, "Engine", Slow)
    one, artifact = prepared("binary"), synthetic_artifact("binary")
    spent = row_milliseconds(artifact, FEATURES, one.rows.head(TIMED_ROWS + 5))
    assert [len(rows) for rows in asked] == [1] * TIMED_ROWS
    assert set(asked[0][0]) == set(one.contract.columns)
    assert 1 <= spent < 25


def test_a_limit_that_nothing_could_break_is_not_applicable(rows: pd.DataFrame, contract: Contract) -> None:
    open_ended = changed(contract, gates={"suspicious_roc_auc": None, "min_slice_rows": 10**6})
    probe = Probe("target is not rebuilt", passed=True, sentence="no limit", applicable=False)
    found = gates(rows, open_ended, evidence=replace(GOOD, probes=(PASSED, probe)))
    for name in ("plausible", "no slice is worse off"):
        assert found[name].passed
        assert not found[name].applicable
        assert found[name].sentence.startswith("not applicable: ")
    assert found["no leak"].sentence == "the leakage probe passed, 1 not applicable"
