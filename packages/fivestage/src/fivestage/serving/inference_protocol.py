"""The Open Inference Protocol v2 for its clients, such as KServe's and Triton's: columns as tensors.

See https://github.com/kserve/open-inference-protocol, and its binary tensor data extension.
"""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from msgspec import UNSET, Meta, Struct
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fivestage.artifact.predictions import form_of
from fivestage.contract.contract import Column, Contract, NumberColumn
from fivestage.serving.admission import Admission
from fivestage.serving.decoders import REFERENCE
from fivestage.serving.openapi import GUARDED, OF_BODY, answered, refusals
from fivestage.serving.problems import ProblemError
from fivestage.serving.requests import read_body
from fivestage.serving.service import PredictionService
from fivestage.serving.tensors import Tensor, columns_of, packed_of

JSON = "application/json"
BINARY = "application/octet-stream"
HEAD_LENGTH = "Inference-Header-Content-Length"  # of the JSON, where bytes of tensors follow it


class RequestedOutput(Struct):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class InferenceRequest(Struct):
    """A request of the Open Inference Protocol; without `outputs` all are given."""

    inputs: Annotated[list[Tensor], Meta(min_length=1)]
    id: str | None = None
    outputs: list[RequestedOutput] = []
    parameters: dict[str, Any] = {}


class InferenceResponse(Struct, omit_defaults=True):
    """The answer to it."""

    model_name: str
    model_version: str
    id: str
    outputs: list[Tensor]


_read = msgspec.json.Decoder(InferenceRequest).decode
_BODY = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": {"$ref": REFERENCE.format(name=InferenceRequest.__name__)}}},
    }
}
_INFER: dict[str, Any] = {
    "openapi_extra": _BODY,
    "responses": {200: answered(InferenceResponse), **refusals(*OF_BODY)},
}


def inference_protocol(service: PredictionService, contract: Contract, admission: Admission) -> APIRouter:
    """The protocol's paths for one model.

    Args:
        service: what answers.
        contract: whose columns are the inputs.
        admission: what guards all but health.

    Returns:
        The router of all paths under `/v2`, for an application to include.
    """
    inference = _Inference(service, contract)
    open_paths = APIRouter(tags=["Open Inference Protocol"])
    guarded = APIRouter(
        tags=["Open Inference Protocol"],
        dependencies=admission.dependencies,
        responses=refusals(404, 422, *GUARDED),
    )

    @open_paths.get("/v2")
    async def server() -> JSONResponse:
        """The server."""
        return JSONResponse({"name": "fivestage", "version": "1", "extensions": ["binary_tensor_data"]})

    @open_paths.get("/v2/health/live")
    async def live() -> JSONResponse:
        """Whether the process lives."""
        return JSONResponse({"live": True})

    @open_paths.get("/v2/health/ready", responses=refusals(503))
    async def server_ready() -> JSONResponse:
        """Whether it is ready."""
        inference.require_ready()
        return JSONResponse({"ready": True})

    @open_paths.get("/v2/models/{name}/ready", responses=refusals(404, 422, 503))
    @open_paths.get("/v2/models/{name}/versions/{version}/ready", responses=refusals(404, 422, 503))
    async def model_ready(name: str, version: str | None = None) -> JSONResponse:
        """Whether the model is ready."""
        inference.require_ready()
        inference.require_model(name, version)
        return JSONResponse({"name": name, "ready": True})

    @guarded.get("/v2/models/{name}")
    @guarded.get("/v2/models/{name}/versions/{version}")
    async def model(name: str, version: str | None = None) -> JSONResponse:
        """The model's inputs and outputs."""
        inference.require_model(name, version)
        return JSONResponse({"name": name, "platform": "fivestage", **inference.metadata()})

    @guarded.post("/v2/models/{name}/infer", **_INFER)
    @guarded.post("/v2/models/{name}/versions/{version}/infer", **_INFER)
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        """Answer rows that come as columns."""
        inference.require_model(name, version)
        # Triton's client names no type.
        body = await read_body(request, service.settings.max_body_bytes, BINARY.encode(), b"")
        return await inference.answer(*_parted(body, request.headers.get(HEAD_LENGTH)))

    open_paths.routes.extend(guarded.routes)
    return open_paths


class _Inference:
    """What the protocol asks of a model, apart from its paths."""

    def __init__(self, service: PredictionService, contract: Contract) -> None:
        self._service, self._contract = service, contract
        form = form_of(contract)
        self._outputs = {one.name: one for one in form.tensors}
        self._decode: Any = msgspec.json.Decoder(form.answer).decode

    def require_ready(self) -> None:
        if not self._service.ready:
            raise ProblemError(503, self._service.status_detail)

    def require_model(self, name: str, version: str | None) -> None:
        if name != self._contract.name:
            raise ProblemError(404, f"There is no model {name!r}: the one here is {self._contract.name!r}.")
        if version is not None and version != (served := self._service.describe()["version"]):
            raise ProblemError(404, f"Version {version!r} does not serve: {served!r} does.")

    def metadata(self) -> dict[str, Any]:
        columns, outputs = self._contract.columns.items(), self._outputs.values()
        return {
            "versions": [self._service.describe()["version"]],
            "inputs": [
                {"name": name, "datatype": _datatype(column), "shape": [-1]} for name, column in columns
            ],
            "outputs": [
                {"name": one.name, "datatype": one.datatype, "shape": _shape(-1, one.width)}
                for one in outputs
            ],
        }

    async def answer(self, head: bytes, packed: bytes) -> Response:
        try:
            request = _read(head)
        except msgspec.ValidationError as error:
            raise ProblemError(422, f"{error}.") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProblemError(400, f"The body is not JSON: {error}.") from None
        wanted = self._wanted(request)
        columns = columns_of(request.inputs, packed)
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        identifier, answered = await self._service.predict(msgspec.json.encode({"rows": rows}))
        answer = self._decode(answered)
        outputs, parts = [], []
        for name, binary in wanted.items():
            about = self._outputs[name]
            values = [value for prediction in answer.predictions for value in about.read(prediction)]
            tensor = Tensor(name, _shape(len(rows), about.width), about.datatype, values)
            if binary:
                parts.append(packed_of(tensor))
                tensor = replace(tensor, data=UNSET, parameters={"binary_data_size": len(parts[-1])})
            outputs.append(tensor)
        text = msgspec.json.encode(
            InferenceResponse(self._contract.name, answer.model_version, request.id or identifier, outputs)
        )
        headers = {"x-request-id": identifier}
        if not parts:
            return Response(text, headers=headers, media_type=JSON)
        headers[HEAD_LENGTH] = str(len(text))
        return Response(text + b"".join(parts), headers=headers, media_type=BINARY)

    def _wanted(self, request: InferenceRequest) -> dict[str, bool]:
        """The outputs to be given, and whether as bytes."""
        binary = bool(request.parameters.get("binary_data_output", False))
        asked = {one.name: bool(one.parameters.get("binary_data", binary)) for one in request.outputs}
        if not self._outputs.keys() >= asked.keys():
            raise ProblemError(
                422, f"The outputs are {' and '.join(self._outputs)}, and {list(asked)} were asked for."
            )
        return asked or dict.fromkeys(self._outputs, binary)


def _parted(body: bytes, length: str | None) -> tuple[bytes, bytes]:
    """The JSON, and the bytes of tensors that follow it."""
    if length is None:
        return body, b""
    if not length.isdecimal() or len(length) > 9 or int(length) > len(body):  # noqa: PLR2004 (digits)
        raise ProblemError(400, f"{HEAD_LENGTH} is not the length of the JSON in the body.")
    return body[: int(length)], body[int(length) :]


def _shape(rows: int, width: int) -> list[int]:
    return [rows] if width == 1 else [rows, width]


def _datatype(column: Column) -> str:
    if isinstance(column, NumberColumn):
        return "INT64" if column.type == "integer" else "FP64"
    return "BYTES"
