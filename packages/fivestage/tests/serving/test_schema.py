"""What the decoder takes and refuses; and that nothing makes it fail otherwise."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from fivestage.contract.contract import Contract, NumberColumn, parse_contract
from fivestage.serving.decoders import Intake, events_intake, rows_intake
from fivestage.serving.problems import ProblemError
from fivestage.serving.service_settings import Settings
from tests.serving.prediction_app import create_app
from tests.synthetic import CHANNEL, CUSTOMER, contract_content, synthetic_problem

CONTRACT = synthetic_problem("binary").contract
ROWS, EVENTS = rows_intake(CONTRACT), events_intake(CONTRACT)
GOOD: dict[str, Any] = ROWS.examples[0]


def refused(intake: Intake, body: bytes | dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(ProblemError) as caught:
        intake.read(body if isinstance(body, bytes) else json.dumps(body).encode())
    found: dict[str, Any] = msgspec.json.decode(caught.value.body())
    assert found["status"] == caught.value.status_code
    return found


def test_examples_of_the_contract_are_taken() -> None:
    assert len(ROWS.read(json.dumps({"rows": ROWS.examples}).encode())) == 1
    assert len(EVENTS.read(json.dumps({"events": EVENTS.examples}).encode())) == len(CONTRACT.events)
    assert ROWS.read(json.dumps(GOOD).encode()) == ROWS.read(json.dumps({"rows": [GOOD]}).encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("order_number", -1),
        ("order_number", 10**10),
        ("order_number", 1.5),
        ("order_number", "1"),
        ("order_number", True),
        ("order_number", None),
        ("order_number", 10**400),
        ("channel", "XXX"),
        ("channel", ["web"]),
        ("customer", ""),
        ("customer", "TOOLONGCUSTOMER"),
        ("amount", 1e9),
        ("amount", -1),
        ("amount", "abc"),
        ("deliver_at", "2024-04-20T09:00:00"),
        ("deliver_at", "2024-04-20"),
        ("deliver_at", "2012-10-01T09:15:00Z"),
        ("deliver_at", "2053-10-01T09:15:00+01:00"),
        ("deliver_at", 1_380_000_000),
        ("surprise", 1),
    ],
)
def test_the_row_and_the_field_are_named(field: str, value: Any) -> None:
    found = refused(ROWS, {"rows": [GOOD, {**GOOD, field: value}]})
    assert found["status"] == 422
    assert found["errors"] == [{"detail": found["errors"][0]["detail"], "row": 1, "field": field}]
    assert f"row 1, field {field}" in found["detail"]
    assert refused(ROWS, {**GOOD, field: value})["errors"][0]["row"] == 0


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("yesterday", "Expected a time such as 2025-01-31T14:15:00Z"),
        (
            "2013-10-01T09:15:00",
            "Expected a time such as 2025-01-31T14:15:00Z with a timezone component",
        ),
        (1_380_000_000, "Expected a time such as 2025-01-31T14:15:00Z, got a whole number"),
        ("1900-10-01T09:15:00Z", "Expected a time from 2020-01-01T00:00:00Z to 2040-01-01T00:00:00Z"),
    ],
)
def test_a_refused_time_shows_how_to_write_it(value: Any, told: str) -> None:
    assert f"field deliver_at: {told}" in refused(ROWS, {**GOOD, "deliver_at": value})["detail"]


def test_whole_numbers_may_be_written_with_a_point() -> None:
    found = ROWS.read(json.dumps({**GOOD, "order_number": 331.0}).encode())[0]
    assert found == {**ROWS.read(json.dumps({**GOOD, "order_number": 331}).encode())[0]}
    assert isinstance(found["order_number"], int)
    assert "whole number" in refused(ROWS, {**GOOD, "order_number": 331.5})["detail"]
    assert ROWS.components()["Row"]["properties"]["order_number"]["type"] == "integer"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    body = json.dumps(GOOD).replace(f'"amount": {GOOD["amount"]}', f'"amount": {number}')
    assert number in body
    assert refused(ROWS, body.encode())["status"] in {400, 422}


def test_a_missing_field_is_named() -> None:
    found = refused(ROWS, {name: value for name, value in GOOD.items() if name != "channel"})
    assert found["errors"][0]["field"] == "channel"


def test_the_values_of_a_category_are_listed_where_they_are_few() -> None:
    found = refused(ROWS, {**GOOD, "channel": "Harbor"})
    assert found["detail"] == "row 0, field channel: Expected one of 'web', 'phone', 'shop', got 'Harbor'"
    content = contract_content("binary")
    many = ["web", *(f"channel {number}" for number in range(500))]
    content["columns"]["channel"] = CHANNEL | {"values": many}
    found = refused(rows_intake(parse_contract(json.dumps(content), "test")), {**GOOD, "channel": "Harbor"})
    assert found["detail"] == "row 0, field channel: Invalid enum value 'Harbor'"


def test_all_missing_and_wrong_fields_are_named_at_once() -> None:
    found = refused(ROWS, b"{}")
    needed = {name for name, column in CONTRACT.columns.items() if not column.nullable}
    assert {one["field"] for one in found["errors"]} == needed
    assert "3 more" in found["detail"]
    several = {"channel": 7, "amount": "abc", "surprise": 1, "customer": "c01", "deliver_at": "today"}
    found = refused(ROWS, several)
    told = {one["field"]: one["detail"] for one in found["errors"]}
    assert set(told) == {"order_number", "channel", "amount", "surprise", "deliver_at"}
    assert told["amount"].startswith("Expected a number")
    assert "got text" in told["amount"]
    (event,) = [one for one in EVENTS.examples if one["kind"] == "delivery"]
    found = refused(EVENTS, {"kind": "delivery", "delay": event["delay"]})
    assert {one["field"] for one in found["errors"]} == {"order_number", "customer", "ended_at"}


def test_each_bad_row_is_reported_up_to_a_limit() -> None:
    found = refused(ROWS, {"rows": [{**GOOD, "order_number": -1}] * 30 + [GOOD]})
    assert [error["row"] for error in found["errors"]] == list(range(20))


def test_what_a_hostile_body_costs_is_bounded() -> None:
    """Other fields beside the rows were decoded too, 200,000 faults were listed, and 20 of them sent."""
    names = [f"a{place}" for place in range(100_000)]
    unknown = json.dumps(GOOD | dict.fromkeys(names, 1)).encode()
    beside = json.dumps({"rows": [1]} | dict.fromkeys(names, 1)).encode()
    tracemalloc.start()
    try:
        found = refused(ROWS, beside)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert found["errors"][0]["row"] == 0
    found = refused(ROWS, unknown)
    assert len(found["errors"]) == 20
    assert "(19 more in `errors`)" in found["detail"]


def test_too_many_rows_and_none_are_refused() -> None:
    assert refused(ROWS, {"rows": [GOOD] * (CONTRACT.service.max_batch + 1)})["status"] == 422
    assert refused(ROWS, {"rows": []})["status"] == 422


def test_missing_numbers_of_events_are_nan() -> None:
    traffic = next(one for one in EVENTS.examples if one["kind"] == "traffic")
    found = EVENTS.read(json.dumps({**traffic, "level": None}).encode())[0]
    assert found["level"] != found["level"]
    assert found["channel"] == traffic["channel"]


def test_a_contract_with_other_columns_makes_other_messages() -> None:
    column = CONTRACT.columns["amount"].model_dump()
    columns = {
        **CONTRACT.columns,
        "load": NumberColumn.model_validate(
            {**column, "max": 7.5, "min": 0.5, "example": 1.0, "nullable": False}
        ),
    }
    other: Contract = CONTRACT.model_copy(update={"columns": columns})
    intake = rows_intake(other)
    assert intake.read(json.dumps({**GOOD, "load": 2}).encode())[0]["load"] == 2.0
    assert refused(intake, GOOD)["errors"][0]["field"] == "load"


def test_the_document_has_the_columns_in_the_contracts_order(tmp_path: Path) -> None:
    content = contract_content("binary")
    columns = content["columns"]
    content["columns"] = {"amount": columns.pop("amount"), **columns}
    problem = replace(synthetic_problem("binary"), contract=parse_contract(json.dumps(content), "test"))
    assert problem.contract.columns["amount"].nullable
    document = TestClient(create_app(problem, Settings(folder=tmp_path))).get("/openapi.json").json()
    assert list(document["components"]["schemas"]["Row"]["properties"]) == list(content["columns"])
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert list(body["examples"]["one"]["value"]) == list(problem.contract.columns)


def status(intake: Intake, body: bytes) -> int:
    try:
        intake.read(body)
    except ProblemError as refusal:
        return msgspec.json.decode(refusal.body(), type=dict[str, Any])["status"]  # type: ignore[no-any-return]
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


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 50_000,
        b'{"kind":' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'{"rows":[{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
        b'{"rows":[{"customer":[]},{"customer":"\xff"}]}',
        b'{"kind":"\\ud800"}',
        b'{"amount":1' + b"0" * 100_000 + b"}",
    ],
)
def test_what_is_nested_too_deep_or_no_text_is_refused(body: bytes) -> None:
    for intake in (ROWS, EVENTS):
        assert status(intake, body) in {400, 422}


@given(st.sampled_from(list(GOOD)), ANYTHING, st.integers(0, 200), st.binary(max_size=3))
def test_a_good_request_gone_wrong_is_read_or_refused(
    field: str, value: Any, place: int, noise: bytes
) -> None:
    body = json.dumps({"rows": [{**GOOD, field: value}]}).encode()
    for sent in (body, body[:place] + noise + body[place:], body[:place]):
        assert status(ROWS, sent) in {200, 400, 422}


def test_rules_between_columns_hold_and_a_key_has_one_form() -> None:
    content = contract_content("binary")
    content["columns"]["ready_at"] = content["columns"]["deliver_at"]
    content["columns"]["customer"] = CUSTOMER | {"form": "integer", "example": "18"}
    content["rules"] = ["ready_at <= deliver_at"]
    intake = rows_intake(parse_contract(json.dumps(content), "test"))
    row = {**intake.examples[0], "ready_at": "2024-04-20T08:00:00Z"}
    for written in ("18", "18.0", "018"):
        assert intake.read(json.dumps({**row, "customer": written}).encode())[0]["customer"] == "18"
    for other in ("x", "1.8e1", "18.5"):  # none of them would ever meet a history
        said = refused(intake, {"rows": [{**row, "customer": other}]})
        assert said["detail"] == "row 0, field customer: Expected a whole number, written as text"
    found = refused(intake, {"rows": [row, {**row, "ready_at": "2024-04-21T08:00:00Z"}]})
    assert found["detail"] == "row 1, field ready_at: Expected ready_at <= deliver_at"
