"""What came otherwise than the data have it."""

import numpy as np
import pytest

from fivestage.contract.contract import Contract, iso
from fivestage.monitoring.skew import skew
from tests.synthetic import prepared


@pytest.fixture(scope="module")
def contract() -> Contract:
    return prepared("binary").contract


def test_an_input_that_came_in_another_unit_is_broken_data(contract: Contract) -> None:
    rows = prepared("binary").rows[[*contract.columns]].dropna().head(300)
    same = np.zeros(len(rows))
    assert skew(rows, rows, same, contract.columns) == ()
    number = next(name for name, column in contract.columns.items() if column.type == "number")
    (cause,) = skew(rows.assign(**{number: rows[number] * 2}), rows, same + 0.1, contract.columns)
    assert (cause.kind, cause.subject) == ("data broken", number)
    assert "100.0% of requests had a value that differs from the data" in cause.sentence


def test_a_gap_is_the_same_in_the_log_and_in_the_data(contract: Contract) -> None:
    rows = prepared("binary").rows[[*contract.columns]].dropna().head(300)
    gaps = rows.assign(channel=rows["channel"].mask(np.arange(len(rows)) % 5 == 0))
    came = gaps.assign(channel=gaps["channel"].astype(object).fillna(""))  # as the service reads its log
    assert skew(came, gaps, np.zeros(len(rows)), contract.columns) == ()
    (cause,) = skew(came, rows, np.zeros(len(rows)), contract.columns)
    assert (
        "20.0% of requests had a value that differs from the data, such as nothing instead of"
        in cause.sentence
    )


def test_a_time_that_differs_is_said_as_a_time(contract: Contract) -> None:
    rows = prepared("binary").rows[[*contract.columns]].dropna().head(300)
    time = contract.decision.time_column
    (cause,) = skew(rows.assign(**{time: rows[time] + 3600}), rows, np.zeros(len(rows)), contract.columns)
    assert f"such as {iso(int(rows[time].iloc[0]) + 3600)} instead of " in cause.sentence


def test_answers_of_another_past_are_broken_data(contract: Contract) -> None:
    rows = prepared("binary").rows[[*contract.columns]].dropna().head(300)
    (cause,) = skew(rows, rows, np.where(np.arange(len(rows)) < 1, 0.2, 0.0), contract.columns)
    assert cause.subject == "the predictions"
    assert "by up to 0.200" in cause.sentence
