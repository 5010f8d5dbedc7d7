"""Records of a run: questions in everyday words find the facts."""

import re
from dataclasses import replace

import pytest
from fivestage.common.settings import RESULTS, ROOT
from fivestage.contract.contract import Contract
from fivestage.evaluation.gates import Gate
from fivestage.reporting.results import Results, load

from fivestage_assistant.ask_commands import examples
from fivestage_assistant.assistant_contract import AssistantContract
from fivestage_assistant.index_pipeline import documents_now, questions_of
from fivestage_assistant.question_set import read_questions
from fivestage_assistant.run_records import contract_sections, records
from fivestage_assistant.search_index import build_index


@pytest.fixture(scope="module")
def contract_and_results(run_results: object) -> tuple[Contract, Results]:
    del run_results
    return Contract.load(ROOT / "problem" / "problem.yaml"), load(RESULTS)


def page(contract: Contract, results: Results, name: str) -> str:
    return next(one.text for one in records(contract, results) if one.path == f"run/{name}.md")


def test_the_champion_its_versions_alerts_and_bad_weeks_are_said(
    contract_and_results: tuple[Contract, Results],
) -> None:
    text = page(*contract_and_results, "monitoring")
    results = contract_and_results[1].monitoring
    assert results is not None
    assert (
        f"The current champion, the model that serves now, is version {results.versions[-1].version}:" in text
    )
    assert "No version of the model was refused (rejected)" in text
    fired = sum(row.drifted for one in results.periods for row in one.drift)
    assert f"{fired} drift alerts fired in total" in text
    assert (
        f"{sum(one.bad for one in results.periods)} of {len(results.periods)} periods (weeks) were bad"
        in text
    )


def test_a_refused_version_is_said_with_the_gate_that_refused_it(
    contract_and_results: tuple[Contract, Results],
) -> None:
    contract, results = contract_and_results
    assert results.monitoring is not None
    first, *rest = results.monitoring.retrainings
    failed = Gate("calibrated", passed=False, value=0.2, limit=0.06, sentence="calibration error 0.200")
    refused = replace(first, promoted=False, gates=(failed,))
    monitoring = replace(results.monitoring, retrainings=(refused, *rest))
    text = page(contract, replace(results, monitoring=monitoring), "monitoring")
    why = "because of 1 failed gate: “calibrated” (calibration error 0.200)."
    assert f"Version {first.version} of 29 Oct 2013 was refused (rejected) {why}" in text
    assert f"Version {first.version} was not refused" not in text


def test_the_contract_is_said_in_sentences(contract_and_results: tuple[Contract, Results]) -> None:
    said = {sentence for _, some in contract_sections(contract_and_results[0]) for sentence in some}
    assert "The contract promises a latency of at most 25 ms for 99% of the requests (p99)." in said
    assert "A false alarm (false positive: “rebook” although it is not disrupted) costs 150 USD." in said
    regression = Contract.load(ROOT / "tools" / "template" / "problems" / "regression" / "problem.yaml")
    prices = {sentence for _, some in contract_sections(regression) for sentence in some}
    assert "Planning too high costs 0.65 USD per unit (units)." in prices
    assert "At most 12 retrainings (trainings) a year are paid for." in said


def test_ten_questions_name_a_version_and_a_day_of_the_run(run_results: object) -> None:
    del run_results
    asked = examples(Contract.load(ROOT / "problem" / "problem.yaml"), load(RESULTS))
    monitored = load(RESULTS).monitoring
    assert monitored
    assert len(asked) == 10
    assert asked[0] == f"Why was version {monitored.retrainings[0].version} trained?"
    assert "3 December" in examples(Contract.load(ROOT / "problem" / "problem.yaml"), Results())[1]


def test_a_question_about_a_version_that_this_run_has_not_is_left_out(
    run_results: object, contract: AssistantContract
) -> None:
    del run_results
    index = build_index(documents_now(contract), contract.chunking, None)
    asked = {one.text for one in questions_of(contract, index)}
    monitored = load(RESULTS).monitoring
    assert monitored
    trained = {one.version for one in monitored.versions}
    for question in read_questions(ROOT / contract.questions):
        if question.answerable and (named := re.findall(r"version (\d+)\b(?!\.)", question.text)):
            assert (question.text in asked) == trained.issuperset(named), question.text
