"""Whatever a client sends is answered as documented; the Open Inference Protocol is understood."""

import gzip
import json
import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fivestage.artifact.artifact import Artifact
from fivestage.contract.contract import Contract
from fivestage.serving.inference_protocol import HEAD_LENGTH
from tests.serving.conftest import Running, Traffic, deploy, running
from tests.serving.test_schema import ANYTHING, EVENTS, GOOD


@pytest.fixture(scope="module")
def shared(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("requests")
    with running(deploy(artifact, folder, "1").settings) as service:
        yield service


GOOD_BODIES = [{"rows": [GOOD]}, GOOD, {"events": EVENTS.examples}, EVENTS.examples[0]]
OCTETS = {"content-type": "application/octet-stream"}
INFER = "/v2/models/synthetic-binary/infer"
BODIES = st.one_of(
    st.sampled_from(GOOD_BODIES).map(lambda body: json.dumps(body).encode()),
    st.binary(max_size=60),
    ANYTHING.map(lambda body: json.dumps(body).encode()),
    st.builds(
        lambda field, value: json.dumps({"rows": [{**GOOD, field: value}]}).encode(),
        st.sampled_from(list(GOOD)),
        ANYTHING,
    ),
    st.builds(
        lambda name, shape, data: json.dumps(
            {"inputs": [{"name": name, "shape": shape, "datatype": "BYTES", "data": data}]}
        ).encode(),
        st.text(max_size=5),
        st.lists(st.integers(-2, 3), max_size=3) | ANYTHING,
        st.lists(ANYTHING, max_size=3) | ANYTHING,
    ),
)
JSON = {"content-type": "application/json"}
HEADERS = st.sampled_from(
    [
        JSON,
        JSON,
        JSON,
        JSON | {"origin": "null"},
        {},
        {"content-type": "text/plain"},
        {"traceparent": "00-x"},
        {"content-type": ""},
        {"origin": "null"},
        {"x-api-key": "é"},
    ]
)
PATHS = st.sampled_from(["/predict", "/outcomes", INFER, "/v2/models/other/infer", "/reload", "/model", "/x"])


@settings(max_examples=250, deadline=None)
@given(
    st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "HEAD"]),
    PATHS,
    st.sampled_from(["", "?explain=true", "?explain=%ff", "?x"]),
    BODIES,
    HEADERS,
)
def test_no_mistake_of_a_client_is_a_failure_of_ours(
    shared: Running, method: str, path: str, query: str, body: bytes, headers: dict[str, str]
) -> None:
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    answer = shared.client.request(method, path + query, content=body, headers=sent)
    assert answer.status_code in {200, 400, 403, 404, 405, 413, 415, 422}, answer.text
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        if method != "HEAD":
            assert answer.json()["status"] == answer.status_code
    paths = shared.client.get("/openapi.json").json()["paths"]
    documented = paths.get(re.sub("/models/[^/]+", "/models/{name}", path), {}).get(method.lower())
    assert documented is None or str(answer.status_code) in documented["responses"]


@pytest.mark.parametrize("path", ["/predict", "/outcomes"])
@pytest.mark.parametrize(
    ("body", "status", "hint"),
    [
        (json.dumps([GOOD]).encode(), 422, "send it as {"),
        (b"[]", 422, "send it as {"),
        (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), 400, "Send UTF-8 without a byte order mark."),
        (json.dumps(GOOD).encode("utf-16"), 400, "Send UTF-8 without a byte order mark."),
        (json.dumps(GOOD).encode("utf-16-le"), 400, "Send UTF-8 without a byte order mark."),
        (json.dumps({"rows": [math.nan], "events": [math.nan]}).encode(), 400, "Send null in place of NaN"),
        (b"{", 400, "The body is not JSON"),
    ],
)
def test_a_body_in_another_form_is_refused_with_the_form_to_send(
    shared: Running, path: str, body: bytes, status: int, hint: str
) -> None:
    answer = shared.client.post(path, content=body, headers=JSON)
    assert answer.status_code == status
    assert hint in answer.json()["detail"]


def infer(client: httpx.Client, traffic: Traffic, places: range) -> httpx.Response:
    rows = [traffic.request(place) for place in places]
    inputs = [
        {"name": name, "shape": [len(rows)], "datatype": "BYTES", "data": [row[name] for row in rows]}
        for name in rows[0]
    ]
    return client.post(INFER, json={"id": "mine", "inputs": inputs})


def test_the_open_inference_protocol_gives_the_same_answers(
    shared: Running, traffic: Traffic, contract: Contract
) -> None:
    plain = shared.client.post(
        "/predict", json={"rows": [traffic.request(place) for place in range(3)]}
    ).json()
    answer = infer(shared.client, traffic, range(3)).json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == (contract.name, "1", "mine")
    found = {output["name"]: output["data"] for output in answer["outputs"]}
    assert found["probability"] == [one["probability"] for one in plain["predictions"]]
    assert found["decision"] == [one["decision"] for one in plain["predictions"]]
    model = shared.client.get(f"/v2/models/{contract.name}").json()
    assert [one["name"] for one in model["inputs"]] == list(contract.columns)
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", f"/v2/models/{contract.name}/ready"):
        assert shared.client.get(path).status_code == 200
    assert shared.client.get("/v2/models/other").status_code == 404


def packed(traffic: Traffic, places: range) -> tuple[bytes, dict[str, str], list[dict[str, Any]]]:
    """A request in the protocol's binary extension, as Triton's client sends it: body, headers, tensors."""
    rows = [traffic.request(place) for place in places]
    inputs: list[dict[str, Any]] = []
    parts = []
    for name in rows[0]:
        values = [row[name] for row in rows]
        if isinstance(values[0], str):
            kind, part = "BYTES", b"".join(struct.pack("<I", len(one)) + one.encode() for one in values)
        else:
            kind, part = "FP64", np.array(values, dtype="<f8").tobytes()
        parts.append(part)
        size = {"binary_data_size": len(part)}
        inputs.append({"name": name, "shape": [len(rows), 1], "datatype": kind, "parameters": size})
    head = json.dumps({"inputs": inputs, "outputs": [{"name": "decision"}]}).encode()
    return head + b"".join(parts), {"Inference-Header-Content-Length": str(len(head))}, inputs


def test_tensors_may_be_bytes_behind_the_request(shared: Running, traffic: Traffic) -> None:
    plain = {one["name"]: one["data"] for one in infer(shared.client, traffic, range(4)).json()["outputs"]}
    body, headers, _ = packed(traffic, range(4))
    (output,) = shared.client.post(INFER, content=body, headers=headers | OCTETS).json()["outputs"]
    assert output == {**output, "name": "decision", "shape": [4], "data": plain["decision"]}


@pytest.mark.parametrize(
    ("cut", "length", "change"),
    [
        (-1, None, {}),
        (None, "99999999", {}),
        (None, "9" * 5000, {}),
        (None, "-1", {}),
        (None, None, {"datatype": "COMPLEX"}),
        (None, None, {"datatype": "INT64"}),
        (None, None, {"shape": [3]}),
        (None, None, {"shape": [4, 2]}),
        (None, None, {"parameters": {}}),
        (None, None, {"parameters": {"binary_data_size": -1}}),
        (None, None, {"parameters": {"binary_data_size": 3}}),
        (None, None, {"name": "channel"}),
    ],
)
def test_bytes_that_are_no_tensors_are_refused_in_the_protocols_words(
    shared: Running, traffic: Traffic, cut: int | None, length: str | None, change: dict[str, Any]
) -> None:
    body, headers, inputs = packed(traffic, range(4))
    parts = body[int(headers["Inference-Header-Content-Length"]) :][:cut]
    head = json.dumps({"inputs": [{**inputs[0], **change}, *inputs[1:]]}).encode()
    headers["Inference-Header-Content-Length"] = length or str(len(head))
    refused = shared.client.post(INFER, content=head + parts, headers=headers | OCTETS)
    assert refused.status_code in {400, 422}
    assert refused.json()["error"] == refused.json()["detail"]


def test_an_output_that_is_not_there_is_refused_and_nothing_logged(shared: Running) -> None:
    before = len(list(shared.service.store.answers()))
    row = [{"name": name, "shape": [1], "datatype": "BYTES", "data": [value]} for name, value in GOOD.items()]
    refused = shared.client.post(INFER, json={"inputs": row, "outputs": [{"name": "odds"}]})
    assert refused.status_code == 422
    assert "probability and decision" in refused.json()["error"]
    assert len(list(shared.service.store.answers())) == before


def test_columns_of_different_lengths_are_refused(shared: Running) -> None:
    tensor = {"name": "customer", "shape": [1], "datatype": "BYTES", "data": ["c01"]}
    longer = {"name": "channel", "shape": [2], "datatype": "BYTES", "data": ["web", "shop"]}
    refused = shared.client.post(INFER, json={"inputs": [tensor, longer]})
    assert refused.status_code == 422
    assert shared.client.post(INFER, json={"inputs": [tensor]}).json()["errors"][0]["row"] == 0


@pytest.mark.parametrize(
    ("tensor", "rest"),
    [
        ({"datatype": "INT8", "parameters": {"binary_data_size": 1_900_000}}, b"\1" * 1_900_000),
        ({"datatype": "BYTES", "parameters": {"binary_data_size": 1_900_000}}, b"\0" * 1_900_000),
        ({"datatype": "FP64", "data": [1] * 600_000}, b""),
    ],
)
def test_too_many_rows_of_tensors_are_refused_before_they_are_unpacked(
    shared: Running, monkeypatch: pytest.MonkeyPatch, tensor: dict[str, Any], rest: bytes
) -> None:
    """Two compressed kilobytes became two million rows, and stopped the event loop for 3.5 seconds."""
    predict = AsyncMock()
    monkeypatch.setattr(shared.service, "predict", predict)
    rows = len(tensor.get("data", rest)) // (4 if tensor["datatype"] == "BYTES" else 1)
    head = json.dumps({"inputs": [{"name": "customer", "shape": [rows], **tensor}]}).encode()
    headers = {HEAD_LENGTH: str(len(head)), "content-encoding": "gzip"}
    refused = shared.client.post(INFER, content=gzip.compress(head + rest), headers=headers | OCTETS)
    assert refused.status_code == 422
    assert refused.json()["detail"] == f"{rows} rows are too many: send at most 1000 at once."
    predict.assert_not_called()


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_tensor_of_strings_holds_as_many_as_its_shape_says(shared: Running, rows: int) -> None:
    part = struct.pack("<I", 3) + b"c01"
    tensor = {"name": "customer", "shape": [rows], "datatype": "BYTES"}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 14}}]}).encode()
    headers = {HEAD_LENGTH: str(len(head))}
    refused = shared.client.post(INFER, content=head + 2 * part, headers=headers | OCTETS)
    assert refused.status_code == 422
    assert "Input 'customer'" in refused.json()["detail"]


def test_the_datatype_of_a_tensor_is_one_of_the_protocol(shared: Running) -> None:
    """Another one was accepted where the values are JSON."""
    row = [{"name": name, "shape": [1], "datatype": "FP128", "data": [value]} for name, value in GOOD.items()]
    refused = shared.client.post(INFER, json={"inputs": row})
    assert refused.status_code == 422
    assert "FP128" in refused.json()["detail"]
