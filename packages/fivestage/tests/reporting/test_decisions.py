import re
import shlex
from dataclasses import replace

import pytest

from fivestage.contract.contract import Contract
from fivestage.reporting import sentences
from fivestage.reporting.documents import card_text, decisions_text
from fivestage.reporting.results import Results
from fivestage.serving.decoders import rows_intake
from tests.synthetic import TASKS, synthetic_problem


def test_a_page_of_a_run_names_the_model_the_gates_and_the_contracts_numbers(
    contract: Contract, results: Results
) -> None:
    page = decisions_text(contract, results)
    assert results.model is not None
    chosen = next(row.name for row in results.model.candidates if row.chosen)
    assert f"| {chosen} | best on the folds, of 2 candidates |" in page
    assert all(gate.sentence in page for gate in results.model.gates)
    assert str(contract.split.test_start) in page
    for table in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


def test_the_page_counts_gates_and_probes_as_the_model_card_does(
    contract: Contract, results: Results
) -> None:
    """One that could not be applied has not passed."""
    assert results.model is not None
    assert results.data is not None
    gates = (replace(results.model.gates[0], applicable=False), *results.model.gates[1:])
    probes = (replace(results.data.probes[0], applicable=False), *results.data.probes[1:])
    some = replace(
        results,
        model=replace(results.model, gates=gates),
        data=replace(results.data, probes=probes),
    )
    counted = (sentences.passed(gates, "gate"), sentences.passed(probes, "leakage probe"))
    for page in (decisions_text(contract, some), card_text(contract, some)):
        assert all(one in page and "(1 not applicable)" in one for one in counted)


@pytest.mark.parametrize("task", TASKS)
def test_before_any_run_it_says_what_the_contract_says(results: Results, task: str) -> None:
    nothing = replace(
        results, problem=None, data=None, model=None, serving=None, monitoring=None, policies=None, run=None
    )
    page = decisions_text(synthetic_problem(task).contract, nothing)
    assert "## Costs" in page
    assert "## Gates" not in page


@pytest.mark.parametrize("task", TASKS)
def test_its_example_request_is_one_that_the_service_accepts(results: Results, task: str) -> None:
    contract = synthetic_problem(task).contract
    command = re.search(r"^curl .*", decisions_text(contract, results), flags=re.MULTILINE)
    assert command
    (row,) = rows_intake(contract).read(shlex.split(command[0])[-1].encode())
    assert row.keys() == contract.columns.keys()
