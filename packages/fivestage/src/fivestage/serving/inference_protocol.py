"""Routes of the Open Inference Protocol v2, for clients such as KServe's and Triton's; columns are tensors.

See https://github.com/kserve/open-inference-protocol and its binary tensor data extension.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from fastapi.params import Depends
from msgspec import UNSET, Meta, Struct
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from fivestage.artifact.predictions import OutputTensor, form_of
from fivestage.contract.contract import Column, Contract, NumberColumn
from fivestage.serving.bodies import read_body
from fivestage.serving.decoders import reference
from fivestage.serving.openapi import GUARDED, messages, refusals
from fivestage.serving.problems import ProblemError
from fivestage.serving.server import require_ready
from fivestage.serving.service import PredictionService
from fivestage.serving.tensors import Tensor, columns_of, packed_of

JSON = "application/json"
BINARY = "application/octet-stream"
HEAD_LENGTH = "Inference-Header-Content-Length"  # of the JSON, if binary tensors follow it


class RequestedOutput(Struct):
    """An output that the client requests."""

    name: str
    parameters: dict[str, Any] = {}


class InferenceRequest(Struct):
    """An inference request; without `outputs` the response has all outputs."""

    inputs: Annotated[list[Tensor], Meta(min_length=1)]
    id: str | None = None
    outputs: list[RequestedOutput] = []
    parameters: dict[str, Any] = {}


class InferenceResponse(Struct, omit_defaults=True):
    """An inference response."""

    model_name: str
    model_version: str
    id: str
    outputs: list[Tensor]


_read = msgspec.json.Decoder(InferenceRequest).decode
_INFER = messages(reference(InferenceRequest), InferenceResponse)


def inference_protocol(  # noqa: C901 (one function per route)
    service: PredictionService, contract: Contract, dependencies: Sequence[Depends]
) -> tuple[APIRouter, APIRouter]:
    """Return the protocol's routes for one model: the public ones, and those that need admission."""
    form = form_of(contract)
    decode_answer: Any = msgspec.json.Decoder(form.answer).decode
    public = APIRouter(tags=["Open Inference Protocol"])
    guarded = APIRouter(
        tags=["Open Inference Protocol"],
        dependencies=dependencies,
        responses=refusals(404, 422, *GUARDED),
    )

    def require_model(name: str, version: str) -> None:
        if name != contract.name:
            raise ProblemError(404, f"There is no model {name!r} here: use {contract.name!r}.")
        if version and version != (served := service.describe()["version"]):
            raise ProblemError(404, f"Version {version!r} is not being served: use {served!r}.")

    @public.get("/v2")
    async def server() -> dict[str, Any]:
        """Describe the server."""
        return {"name": "fivestage", "version": "1", "extensions": ["binary_tensor_data"]}

    @public.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        """Report that the process is alive."""
        return {"live": True}

    @public.get("/v2/health/ready", responses=refusals(503))
    async def server_ready() -> dict[str, bool]:
        """Report whether the server is ready."""
        require_ready(service)
        return {"ready": True}

    @public.get("/v2/models/{name}/ready", responses=refusals(404, 422, 503))
    @public.get("/v2/models/{name}/versions/{version}/ready", responses=refusals(404, 422, 503))
    async def model_ready(name: str, version: str = "") -> dict[str, Any]:
        """Report whether the model is ready."""
        require_ready(service)
        require_model(name, version)
        return {"name": name, "ready": True}

    @guarded.get("/v2/models/{name}")
    @guarded.get("/v2/models/{name}/versions/{version}")
    async def model(name: str, version: str = "") -> dict[str, Any]:
        """Describe the model's inputs and outputs."""
        require_model(name, version)
        columns = contract.columns.items()
        return {
            "name": name,
            "platform": "fivestage",
            "versions": [service.describe()["version"]],
            "inputs": [
                {"name": column_name, "datatype": _datatype(column), "shape": [-1]}
                for column_name, column in columns
            ],
            "outputs": [
                {"name": one.name, "datatype": one.datatype, "shape": _shape(-1, one.width)}
                for one in form.tensors
            ],
        }

    @guarded.post("/v2/models/{name}/infer", **_INFER)
    @guarded.post("/v2/models/{name}/versions/{version}/infer", **_INFER)
    async def infer(request: Request, name: str, version: str = "") -> Response:
        """Predict rows whose columns arrive as tensors."""
        require_model(name, version)
        # Triton's client sends no Content-Type.
        body = await read_body(request, service.settings.max_body_bytes, BINARY.encode(), b"")
        inference, packed = _split(body, request.headers.get(HEAD_LENGTH))
        outputs = _requested_outputs(inference, form.tensors)
        columns = columns_of(inference.inputs, packed, contract.service.max_batch)
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        identifier, encoded = await service.predict(msgspec.json.encode({"rows": rows}))
        answer = decode_answer(encoded)
        tensors, parts = _output_tensors(outputs, answer.predictions)
        text = msgspec.json.encode(
            InferenceResponse(contract.name, answer.model_version, inference.id or identifier, tensors)
        )
        headers = {"x-request-id": identifier}
        if parts:
            headers[HEAD_LENGTH] = str(len(text))
        return Response(text + b"".join(parts), headers=headers, media_type=BINARY if parts else JSON)

    return public, guarded


def _requested_outputs(
    request: InferenceRequest, outputs: Sequence[OutputTensor]
) -> list[tuple[OutputTensor, bool]]:
    """Return the outputs to send, each with whether it is sent as binary data."""
    by_name = {one.name: one for one in outputs}
    binary = bool(request.parameters.get("binary_data_output", False))
    requested = {one.name: bool(one.parameters.get("binary_data", binary)) for one in request.outputs}
    for unknown in requested.keys() - by_name.keys():
        raise ProblemError(422, f"There is no output {unknown!r}: the outputs are {' and '.join(by_name)}.")
    return [(by_name[name], packed) for name, packed in (requested or dict.fromkeys(by_name, binary)).items()]


def _output_tensors(
    outputs: Sequence[tuple[OutputTensor, bool]], predictions: Sequence[Any]
) -> tuple[list[Tensor], list[bytes]]:
    """Return the outputs as tensors, and the bytes of those that are sent as binary data."""
    tensors, parts = [], []
    for output, is_packed in outputs:
        values = [value for prediction in predictions for value in output.read(prediction)]
        tensor = Tensor(output.name, _shape(len(predictions), output.width), output.datatype, values)
        if is_packed:
            parts.append(packed_of(tensor))
            tensor = replace(tensor, data=UNSET, parameters={"binary_data_size": len(parts[-1])})
        tensors.append(tensor)
    return tensors, parts


def _split(body: bytes, length: str | None) -> tuple[InferenceRequest, bytes]:
    """Split a body into the request and the binary tensors that follow it."""
    end = len(body)
    if length is not None:
        if not length.isdecimal() or len(length) > 9 or int(length) > len(body):  # noqa: PLR2004 (digits)
            raise ProblemError(400, f"{HEAD_LENGTH} must be the length of the JSON in the body, in bytes.")
        end = int(length)
    try:
        return _read(body[:end]), body[end:]
    except msgspec.ValidationError as error:
        raise ProblemError(422, f"{error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(400, f"The body is not JSON: {error}.") from None


def _shape(rows: int, width: int) -> list[int]:
    return [rows] if width == 1 else [rows, width]


def _datatype(column: Column) -> str:
    if isinstance(column, NumberColumn):
        return "INT64" if column.type == "integer" else "FP64"
    return "BYTES"
