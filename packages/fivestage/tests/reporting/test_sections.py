"""Sections of the report from what the stages return."""

import pandas as pd
import pytest

from fivestage.contract.contract import Contract, MulticlassContract, epoch_of
from fivestage.reporting.report import weekly_label
from tests.contract.contracts import contract_of

START = epoch_of("2013-10-01")
DAY = 86_400


def _rows(contract: Contract, labels: list[int]) -> pd.DataFrame:
    days = [START + 4 * DAY * at for at in range(len(labels))]
    return pd.DataFrame({"decision_at": days, contract.label.name: labels})


def test_the_label_is_counted_by_week_from_the_first_decision(contract: Contract) -> None:
    first, second = weekly_label(_rows(contract, [1, 0, 1]), contract)
    assert (str(first.start), first.rate, first.rows) == ("2013-10-01", 0.5, 2)
    assert (str(second.start), second.rate, second.rows) == ("2013-10-08", 1.0, 1)


def test_several_classes_have_their_shares_by_week() -> None:
    contract = contract_of("multiclass")
    assert isinstance(contract, MulticlassContract)
    first, second = weekly_label(_rows(contract, [0, 1, 1]), contract)
    names = contract.label.classes
    assert {name: first.shares[name] for name in names[:2]} == {names[0]: 0.5, names[1]: 0.5}
    assert second.shares[names[1]] == pytest.approx(1.0)
