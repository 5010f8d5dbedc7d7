import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from fivestage.evaluation.gates import DecisionScores
from fivestage.evaluation.metrics import Estimate
from fivestage.reporting import number_format as fmt
from fivestage.reporting.documents import card_text, decisions_text
from fivestage.reporting.documents import page_text as page
from fivestage.reporting.results import Results
from fivestage.reporting.terminal_summary import summary


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
        "Decisions on the holdout window",
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
    assert "The model is weakest where shop is UA (ROC-AUC 0.700)" in card


def test_decisions_are_counted_by_outcome_and_scored(card: str, contract: Contract, results: Results) -> None:
    assert "| outcome | wait | call ahead |\n|---|---:|---:|\n| late | **900** | 100 |" in card
    assert "| lost | 2 | **18** |" in card
    assert "| very late or lost | call ahead | 88.2% | 74.8% | 1,000 |" in card
    assert results.model is not None
    assert results.model.confusion is not None
    never = DecisionScores("inspect", (), 0.0, math.nan, 0)
    some = replace(results.model.confusion, decisions=(never,), counts=((0,),) * 3)
    without = card_text(contract, replace(results, model=replace(results.model, confusion=some)))
    assert f"| {fmt.NONE} | inspect | 0% | {fmt.NONE} | 0 |" in without


def test_a_refused_version_says_so(contract: Contract, results: Results) -> None:
    assert results.model is not None
    failed = replace(results.model.gates[0], passed=False, sentence="a | b\nc")
    card = card_text(
        contract, replace(results, model=replace(results.model, promoted=False, gates=(failed,)))
    )
    assert "refused by a gate" in card
    assert "0 of 1 gate passed; failed: better than baseline" in card
    assert "| **failed** | 0.072 | 0.05 | a \\| b c |" in card


def test_a_version_of_uncommitted_changes_is_not_said_to_be_rebuildable(
    card: str, contract: Contract, results: Results
) -> None:
    assert "the artifact gets the same digest" in card
    assert results.model is not None
    lineage = results.model.lineage | {"commit": "4a81fd88-dirty"}
    dirty = card_text(contract, replace(results, model=replace(results.model, lineage=lineage)))
    assert "the artifact gets the same digest" not in dirty
    assert "cannot be rebuilt from the commit above" in dirty


def test_a_decision_at_the_time_of_its_column_is_not_said_to_be_before_it(
    contract: Contract, results: Results
) -> None:
    at_once = contract.decision.model_copy(update={"hours_before": 0})
    for text in (
        card_text(contract.model_copy(update={"decision": at_once}), results),
        decisions_text(contract.model_copy(update={"decision": at_once}), results),
    ):
        assert "0 h before" not in text
        assert f"at the time in “{contract.decision.time_column.replace('_', ' ')}”" in text


def test_a_card_without_a_model_is_refused(contract: Contract) -> None:
    with pytest.raises(UserError, match="make train"):
        card_text(contract, Results())


def test_without_the_data_stage_the_card_still_stands(contract: Contract, results: Results) -> None:
    assert "## Features" not in card_text(contract, replace(results, data=None))


def test_a_version_with_an_empty_test_window_says_so(contract: Contract, results: Results) -> None:
    assert results.model
    untested = replace(results.model, test={}, slices=(), ablation=(), calibration=())
    card = card_text(contract, replace(results, model=untested))
    assert "has not been evaluated on its test window" in card
    assert 'To evaluate it, run `make evaluate ARGS="--version 1"`, which needs at least ' in card
    assert "| metric |" not in card
    assert "## Gates" in card


def test_a_slice_of_few_rows_is_not_called_the_weakest(contract: Contract, results: Results) -> None:
    assert results.model is not None
    first, *others = results.model.slices
    few = replace(first, value="few", rows=29, metrics=first.metrics | {"roc_auc": Estimate(0.1)})
    assert few.rows < contract.gates.min_slice_rows
    card = card_text(contract, replace(results, model=replace(results.model, slices=(few, *others))))
    weakest = next(line for line in card.splitlines() if "The model is weakest" in line)
    assert "few" not in weakest
    assert "shop is UA" in weakest


@pytest.mark.usefixtures("without_plots")
def test_what_is_one_is_written_in_the_singular(contract: Contract, results: Results) -> None:
    once = {"period_days": 1, "bad_periods": 1, "of_periods": 1, "cooldown_days": 1, "max_age_days": 1}
    rules = contract.monitoring.model_copy(update=once)
    budget = contract.budget.model_copy(update={"retrainings_per_year": 1})
    daily = contract.model_copy(update={"monitoring": rules, "budget": budget})
    assert results.data
    one_row = replace(results, data=replace(results.data, rows=1, quarantined={"reason": 1}))
    plural_of_one = re.compile(r"(?<![.,\d])1 (?:row|day|period|retraining|gate|request)s\b")
    for text in (page(daily, one_row), card_text(daily, one_row), summary(daily, one_row, Path("page.html"))):
        assert plural_of_one.findall(text) == []
    assert "Every day. A bad period triggers a retraining" in page(daily, results)
    assert "1 row was kept; 1 row or value was quarantined" in card_text(daily, one_row)


@pytest.mark.usefixtures("without_plots")
def test_what_was_kept_though_it_looks_like_a_leak_is_said(contract: Contract, results: Results) -> None:
    assert results.model is not None
    assert results.data is not None
    kept = contract.model_copy(update={"suspected_leaks": {"refund": "alone it reaches ROC-AUC 0.999"}})
    open_ended = replace(results.model.gates[0], sentence="not applicable: no limit", applicable=False)
    probe = replace(results.data.probes[0], applicable=False)
    some = replace(
        results,
        model=replace(results.model, gates=(open_ended, *results.model.gates[1:])),
        data=replace(results.data, probes=(probe, *results.data.probes[1:])),
    )
    for text in (card_text(kept, some), page(kept, some)):
        assert re.search(r"refund.{0,20}alone it reaches ROC-AUC 0\.999", text)
        assert "not applicable" in text
    assert "2 of 2 leakage probes passed (1 not applicable)" in page(kept, some)
