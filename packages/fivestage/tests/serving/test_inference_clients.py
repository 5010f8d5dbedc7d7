"""The clients of the Open Inference Protocol work unchanged: Triton's, and its refusals are understood."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fivestage.artifact.artifact import Artifact
from tests.serving.conftest import Running, Traffic, deploy, running

MODEL = "synthetic-binary"
KINDS = {str: ("BYTES", object), int: ("INT64", np.int64), float: ("FP64", np.float64)}


@pytest.fixture(scope="module")
def shared(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(deploy(artifact, tmp_path_factory.mktemp("clients"), "7").settings) as service:
        yield service


def columns(traffic: Traffic) -> dict[str, tuple[str, Any]]:
    rows = [traffic.request(place) for place in range(3)]
    kinds = {name: KINDS[type(value)] for name, value in rows[0].items()}
    return {
        name: (kind, np.array([row[name] for row in rows], dtype=dtype))
        for name, (kind, dtype) in kinds.items()
    }


def expected(service: Running, traffic: Traffic) -> list[Any]:
    rows = [traffic.request(place) for place in range(3)]
    answer = service.client.post("/predict", json={"rows": rows}).json()["predictions"]
    return [one["probability"] for one in answer]


@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client(shared: Running, traffic: Traffic, packing: str | None, binary: bool) -> None:  # noqa: FBT001
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(shared.url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_model_metadata(MODEL)["versions"] == ["7"]
    inputs = []
    for name, (kind, values) in columns(traffic).items():
        inputs.append(triton.InferInput(name, list(values.shape), kind))
        inputs[-1].set_data_from_numpy(values, binary_data=binary)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("probability", "decision")]
    for version in ("", "7"):
        assert client.is_model_ready(MODEL, version)
        for wanted in (None, outputs):
            found = client.infer(
                MODEL, inputs, version, outputs=wanted, request_compression_algorithm=packing
            )
            assert found.as_numpy("probability").tolist() == expected(shared, traffic)
            assert len(found.as_numpy("decision")) == 3
    with pytest.raises(triton.InferenceServerException, match="'8' is not being served"):
        client.infer(MODEL, inputs, "8")
    client.close()


def test_what_is_no_tensor_of_a_client_is_refused(shared: Running) -> None:
    octets = {"content-type": "application/octet-stream"}
    refused = shared.client.post(f"/v2/models/{MODEL}/infer", content=b"\x00\x01", headers=octets)
    assert refused.status_code == 400
    assert refused.json()["error"] == refused.json()["detail"]
    assert shared.client.post("/predict", content=b"{}", headers=octets).status_code == 415
