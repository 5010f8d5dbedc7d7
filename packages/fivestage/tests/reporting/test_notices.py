"""What people are told of a period and of a champion/challenger evaluation, and when somebody is to look."""

from dataclasses import replace

import pytest

from fivestage.common.clock import DAY
from fivestage.contract.contract import Contract, epoch_of
from fivestage.evaluation.gates import Gate
from fivestage.monitoring.causes import Cause
from fivestage.monitoring.period import MonitoredPeriod
from fivestage.monitoring.retraining import RetrainingDecision, Span
from fivestage.monitoring.retraining_loop import TrainingResult
from fivestage.registry.versions import Version
from fivestage.reporting.periods import period_lines, period_notice
from fivestage.reporting.report import evaluation_notice
from tests.contract.contracts import contract_of
from tests.monitoring.test_performance import judged, week

START = epoch_of("2013-10-01")
KEEP, TRAIN = (
    RetrainingDecision(retrain=False, reason="the latest was good"),
    RetrainingDecision(retrain=True, reason="2 of 3 bad"),
)
GATES = (
    Gate("leakage", passed=True, value=0, limit=0, sentence="nothing moved"),
    Gate(
        "calibrated",
        passed=False,
        value=0.1,
        limit=0.06,
        sentence="calibration error 0.100, at most 0.06 allowed",
    ),
)


VERSION = Version("deliveries", "7", "d" * 64, "run", epoch_of("2013-12-01"), "commit")


@pytest.fixture(scope="module")
def contract() -> Contract:
    return contract_of("binary")


@pytest.fixture(scope="module")
def monitored(contract: Contract) -> MonitoredPeriod:
    """A week in which nothing was wrong."""
    return MonitoredPeriod(Span(START, START + 7 * DAY), ("3",), judged(contract, *week(1)))


def test_the_state_of_a_week_says_what_stands_in_the_way(
    contract: Contract, monitored: MonitoredPeriod
) -> None:
    assert monitored.state == "good"
    bad = replace(monitored, performance=judged(contract, *week(2, 0.08)))
    assert bad.state == "bad"
    broken = (Cause("data broken", "temp", "temp: 30 times as large"),)
    assert replace(bad, causes=broken).state == "data broken (temp)"
    warned = (Cause("input shift", "temp", "a check of one's own"), Cause("performance", "bias", "too far"))
    assert replace(monitored, causes=warned).drifted == ("temp",)
    for share in (0, 0.5):  # of the labels
        assert replace(monitored, performance=judged(contract, *week(1), share=share)).state == "not judged"


def test_a_good_week_asks_for_nobody(contract: Contract, monitored: MonitoredPeriod) -> None:
    told = period_notice(contract, [(monitored, KEEP)])
    assert not told.attention
    assert told.facts == {"act": "false", "as_of": "2013-10-08"}
    assert "## From 2013-10-01 to 2013-10-08" in told.body
    assert "**Keep the model**: the latest was good." in told.body
    assert "No check found a significant change" in told.body
    assert "| ROC-AUC | 0." in told.body


def test_a_cause_a_bad_week_and_a_training_ask_for_somebody(
    contract: Contract, monitored: MonitoredPeriod
) -> None:
    cause = replace(
        monitored, causes=(Cause("data broken", "temp", "temp: 30 times as large; since 2013-10-03"),)
    )
    bad = replace(monitored, performance=judged(contract, *week(2, 0.08)))
    for one, verdict in ((cause, KEEP), (bad, KEEP), (monitored, TRAIN)):
        assert period_notice(contract, [(one, verdict)]).attention
    shifted = replace(monitored, causes=(Cause("input shift", "temp", "temp: warmer"),))
    assert not period_notice(contract, [(shifted, KEEP)]).attention
    assert "- **data broken**: temp: 30 times as large" in period_notice(contract, [(cause, KEEP)]).body
    proven = RetrainingDecision(retrain=False, reason="it saves money", promote="4")
    told = period_notice(contract, [(monitored, proven)])
    assert told.attention
    assert "**Promote version 4**: it saves money." in told.body
    assert told.facts["act"] == "true"
    assert "**Retrain**: 2 of 3 bad" in period_notice(contract, [(monitored, TRAIN)]).body


def test_causes_of_a_week_that_is_judged_late_ask_for_somebody(
    contract: Contract, monitored: MonitoredPeriod
) -> None:
    causes = Cause("concept shift", "the label", "it has changed"), Cause("data broken", "x", "x: gone")
    now = replace(monitored, span=Span(START + 7 * DAY, START + 14 * DAY))
    found = replace(now, matured=(replace(monitored, causes=causes),))
    notice = period_notice(contract, [(found, KEEP)])
    assert notice.attention
    assert "- **concept shift**: it has changed" in notice.body
    assert "x: gone" not in notice.body  # its first check said so
    assert "  concept shift: it has changed" in list(period_lines(found, KEEP))


def test_of_several_weeks_the_latest_comes_first_and_decides(
    contract: Contract, monitored: MonitoredPeriod
) -> None:
    bad = replace(monitored, performance=judged(contract, *week(2, 0.08)))
    later = replace(monitored, span=Span(START + 7 * DAY, START + 14 * DAY))
    told = period_notice(contract, [(bad, TRAIN), (later, KEEP)])
    assert not told.attention
    assert told.facts["as_of"] == "2013-10-15"
    assert told.body.index("2013-10-15") < told.body.index("From 2013-10-01")


def test_a_week_without_labels_is_told_by_the_estimate(
    contract: Contract, monitored: MonitoredPeriod
) -> None:
    unlabelled = replace(monitored, performance=judged(contract, *week(1), share=0))
    told = period_notice(contract, [(unlabelled, KEEP)])
    assert "No label has arrived" in told.body
    assert "| ROC-AUC | \N{EN DASH} | 0." in told.body


def test_an_evaluation_names_each_gate_and_a_refusal_asks_for_somebody(contract: Contract) -> None:
    lost = evaluation_notice(contract, TrainingResult(VERSION, GATES, promoted=False))
    assert lost.attention
    assert "1 of 2 gates passed; failed: calibrated" in lost.body
    assert "| calibrated | **failed** | 0.1 | 0.06 |" in lost.body
    won = evaluation_notice(contract, TrainingResult(VERSION, GATES[:1], promoted=True))
    assert not won.attention
    assert "Version 7, trained as of 2013-12-01, is the champion" in won.body
    assert won.facts == {"version": "7", "passed": "true", "promoted": "true", "waits": "false"}
    waits = evaluation_notice(contract, TrainingResult(VERSION, GATES[:1], promoted=False))
    assert not waits.attention
    assert "waits for approval" in waits.body
    assert waits.facts["waits"] == "true"


def test_what_became_of_a_version_is_said_and_what_to_do_where_it_was_refused() -> None:
    lost = TrainingResult(VERSION, GATES, promoted=False)
    assert "at most 0.06 allowed\n  version 7 stays challenger\n  Add features" in lost.text
    won = TrainingResult(VERSION, GATES[:1], promoted=True)
    assert won.text.endswith("nothing moved\n  version 7 is the champion")
