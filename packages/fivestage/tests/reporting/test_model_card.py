import re
from dataclasses import replace

import pytest

from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.reporting.model_card import card_text
from fivestage.reporting.results import Results


@pytest.fixture(scope="module")
def card(contract: Contract, results: Results) -> str:
    return card_text(contract, results)


def test_every_chapter_is_there(card: str) -> None:
    chapters = re.findall(r"^## (.*)$", card, flags=re.MULTILINE)
    assert chapters == [
        "Intended use",
        "Decision",
        "Data",
        "Features",
        "Metrics on the frozen test window",
        "Slices",
        "Calibration",
        "Gates",
        "Limits",
        "Lineage",
        "How to rebuild",
    ]


def test_rows_of_a_table_have_as_many_cells_as_its_head(card: str) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", card, flags=re.MULTILINE):
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
        assert len(cells) > 2
        assert len(set(cells)) == 1


def test_numbers_and_lineage_are_those_of_the_results(card: str, contract: Contract) -> None:
    assert "| ROC-AUC | 0.755 | 0.730 to 0.773 |" in card
    assert f"| contract | `{contract.digest}` |" in card
    assert all(f"| {name} |" in card for name in contract.columns)
    assert "It is worst where shop is UA (ROC-AUC 0.700)" in card


def test_a_refused_version_says_so(contract: Contract, results: Results) -> None:
    assert results.model is not None
    failed = replace(results.model.gates[0], passed=False, sentence="a | b\nc")
    card = card_text(
        contract, replace(results, model=replace(results.model, promoted=False, gates=(failed,)))
    )
    assert "refused by a gate" in card
    assert "0 of 1 gate passed; failed: better than baseline" in card
    assert "| **no** | 0.072 | 0.05 | a \\| b c |" in card


def test_a_card_without_a_model_is_refused(contract: Contract) -> None:
    with pytest.raises(UserError, match="make train"):
        card_text(contract, Results())


def test_without_the_data_stage_the_card_still_stands(contract: Contract, results: Results) -> None:
    assert "## Features" not in card_text(contract, replace(results, data=None))


def test_a_version_that_nothing_came_after_says_so(contract: Contract, results: Results) -> None:
    assert results.model
    untested = replace(results.model, test={}, slices=(), ablation=(), calibration=())
    told = card_text(contract, replace(results, model=untested))
    assert "nothing is known of it after that" in told
    assert "| metric |" not in told
    assert "## Gates" in told
