"""What the decoder takes and refuses; and that nothing makes it fail otherwise."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivestage.contract.contract import CategoryColumn, Contract, NumberColumn, Rule
from fivestage.serving.decoders import Intake, Record, events_intake, rows_intake
from fivestage.serving.problems import ProblemError
from problem import PROBLEM

CONTRACT = PROBLEM.contract
ROWS, EVENTS = rows_intake(CONTRACT), events_intake(CONTRACT)
GOOD: dict[str, Any] = ROWS.examples[0]


def refused(intake: Intake, body: bytes | dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(ProblemError) as caught:
        intake.read(body if isinstance(body, bytes) else json.dumps(body).encode())
    found: dict[str, Any] = msgspec.json.decode(caught.value.body)
    assert found["status"] == caught.value.status
    return found


def test_examples_of_the_contract_are_taken() -> None:
    assert len(ROWS.read(json.dumps({"rows": ROWS.examples}).encode())) == 1
    assert len(EVENTS.read(json.dumps({"events": EVENTS.examples}).encode())) == len(CONTRACT.events)
    assert ROWS.read(json.dumps(GOOD).encode()) == ROWS.read(json.dumps({"rows": [GOOD]}).encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flight", 0),
        ("flight", 10_000),
        ("flight", 1.5),
        ("flight", "1"),
        ("flight", True),
        ("flight", None),
        ("flight", 10**400),
        ("origin", "XXX"),
        ("origin", ["EWR"]),
        ("carrier", ""),
        ("carrier", "TOOLONG"),
        ("distance", 1e9),
        ("distance", -1),
        ("scheduled_departure", "2013-10-01T09:15:00"),
        ("scheduled_departure", "2013-10-01"),
        ("scheduled_departure", "2012-10-01T09:15:00Z"),
        ("scheduled_departure", "2053-10-01T09:15:00+01:00"),
        ("scheduled_departure", 1_380_000_000),
        ("surprise", 1),
    ],
)
def test_the_row_and_the_field_are_named(field: str, value: Any) -> None:
    found = refused(ROWS, {"rows": [GOOD, {**GOOD, field: value}]})
    assert found["status"] == 422
    assert found["errors"] == [{"detail": found["errors"][0]["detail"], "row": 1, "field": field}]
    assert f"row 1, field {field}" in found["detail"]
    assert refused(ROWS, {**GOOD, field: value})["errors"][0]["row"] == 0


def test_whole_numbers_may_be_written_with_a_point() -> None:
    found = ROWS.read(json.dumps({**GOOD, "flight": 331.0}).encode())[0]
    assert found == {**ROWS.read(json.dumps({**GOOD, "flight": 331}).encode())[0]}
    assert isinstance(found["flight"], int)
    assert "whole number" in refused(ROWS, {**GOOD, "flight": 331.5})["detail"]
    assert ROWS.schemas()[1]["Row"]["properties"]["flight"]["type"] == "integer"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    body = json.dumps(GOOD).replace(f'"distance": {GOOD["distance"]}', f'"distance": {number}')
    assert number in body
    assert refused(ROWS, body.encode())["status"] in {400, 422}


def test_a_missing_field_is_named() -> None:
    found = refused(ROWS, {name: value for name, value in GOOD.items() if name != "dest"})
    assert found["errors"][0]["field"] == "dest"


def test_each_bad_row_is_reported_up_to_a_limit() -> None:
    found = refused(ROWS, {"rows": [{**GOOD, "flight": 0}] * 30 + [GOOD]})
    assert [error["row"] for error in found["errors"]] == list(range(20))


def test_too_many_rows_and_none_are_refused() -> None:
    assert refused(ROWS, {"rows": [GOOD] * (CONTRACT.service.max_batch + 1)})["status"] == 422
    assert refused(ROWS, {"rows": []})["status"] == 422


def test_missing_numbers_of_events_are_nan() -> None:
    weather = next(one for one in EVENTS.examples if one["kind"] == "weather")
    found = EVENTS.read(json.dumps({**weather, "temp": None}).encode())[0]
    assert found["temp"] != found["temp"]
    assert {name: found[name] for name in ("dewp", "origin")} == {
        "dewp": weather["dewp"],
        "origin": weather["origin"],
    }


def test_a_contract_with_other_columns_makes_other_messages() -> None:
    column = CONTRACT.columns["distance"].model_dump()
    columns = {
        **CONTRACT.columns,
        "load": NumberColumn.model_validate({**column, "max": 7.5, "min": 0.5, "example": 1.0}),
    }
    other: Contract = CONTRACT.model_copy(update={"columns": columns})
    intake = rows_intake(other)
    assert intake.read(json.dumps({**GOOD, "load": 2}).encode())[0]["load"] == 2.0
    assert refused(intake, GOOD)["errors"][0]["field"] == "load"


def status(intake: Intake, body: bytes) -> int:
    try:
        intake.read(body)
    except ProblemError as refusal:
        return msgspec.json.decode(refusal.body, type=dict[str, Any])["status"]  # type: ignore[no-any-return]
    return 200


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*GOOD, "rows", "kind", "x"]), inner)
    ),
    max_leaves=12,
)


@given(st.one_of(st.binary(max_size=80), ANYTHING.map(lambda one: json.dumps(one).encode())))
def test_whatever_comes_is_read_or_refused(body: bytes) -> None:
    for intake in (ROWS, EVENTS):
        assert status(intake, body) in {200, 400, 422}


@given(st.sampled_from(list(GOOD)), ANYTHING, st.integers(0, 200), st.binary(max_size=3))
def test_a_good_request_gone_wrong_is_read_or_refused(
    field: str, value: Any, place: int, noise: bytes
) -> None:
    body = json.dumps({"rows": [{**GOOD, field: value}]}).encode()
    for sent in (body, body[:place] + noise + body[place:], body[:place]):
        assert status(ROWS, sent) in {200, 400, 422}


def test_a_key_meets_its_history_however_its_number_is_written() -> None:
    column = CategoryColumn(type="category", about="customer", form="integer", example="18")
    intake = Intake("rows", {"row": Record("Row", {"customer": column})}, 10)
    rows = [{"customer": one} for one in ("18", "18.0", "018", " 18")]
    assert intake.read(json.dumps({"rows": rows}).encode()) == [{"customer": "18"}] * 4


def test_a_row_that_breaks_a_rule_is_refused_with_the_rule() -> None:
    rule = Rule.model_validate("scheduled_departure < scheduled_arrival")
    contract = CONTRACT.model_copy(update={"rules": (rule,)})
    late = {
        **GOOD,
        "scheduled_departure": GOOD["scheduled_arrival"],
        "scheduled_arrival": GOOD["scheduled_departure"],
    }
    found = refused(rows_intake(contract), {"rows": [GOOD, late]})
    assert found["status"] == 422
    assert found["detail"] == (
        "row 1, field scheduled_departure: Expected scheduled_departure < scheduled_arrival"
    )
