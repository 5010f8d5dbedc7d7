"""The Open Inference Protocol v2, for clients of that ecosystem: columns as tensors of one dimension."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from fivestage.artifact.predictions import form_of
from fivestage.contract.contract import Column, Contract, NumberColumn
from fivestage.serving.door import Call, Reply
from fivestage.serving.problems import ProblemError
from fivestage.serving.service import Service
from fivestage.serving.tensors import Tensor, columns_of

HEAD_LENGTH = b"inference-header-content-length"  # of the JSON, where bytes of tensors follow it


class Wanted(Struct):
    """An output that is asked for; JSON is what it comes as, whatever its parameters say."""

    name: str
    parameters: dict[str, Any] = {}


class Inference(Struct):
    """A request; without `outputs` all are given, and `parameters` are taken and not needed."""

    inputs: Annotated[list[Tensor], Meta(min_length=1)]
    id: str | None = None
    outputs: list[Wanted] = []
    parameters: dict[str, Any] = {}


_read = msgspec.json.Decoder(Inference).decode


class Protocol:
    """What the protocol's paths answer."""

    def __init__(self, service: Service, contract: Contract) -> None:
        self._service, self._contract = service, contract
        form = form_of(contract)
        self._tensors = {one.name: one for one in form.tensors}
        self._answered: Any = msgspec.json.Decoder(form.answer).decode

    async def server(self, _: Call) -> Reply:
        return _reply({"name": "fivestage", "version": "1", "extensions": []})

    async def live(self, _: Call) -> Reply:
        return _reply({"live": True})

    async def ready(self, _: Call) -> Reply:
        if not self._service.ready:
            raise ProblemError(503, self._service.trouble or "The service is not ready.")
        return _reply({"ready": True})

    async def model(self, call: Call) -> Reply:
        self._name(call)
        inputs = [
            {"name": name, "datatype": _datatype(column), "shape": [-1]}
            for name, column in self._contract.columns.items()
        ]
        outputs = [
            {"name": one.name, "datatype": one.datatype, "shape": _shape(-1, one.width)}
            for one in self._tensors.values()
        ]
        version = self._service.describe()["version"]
        return _reply(
            {
                "name": self._contract.name,
                "versions": [version],
                "platform": "fivestage",
                "inputs": inputs,
                "outputs": outputs,
            }
        )

    async def model_ready(self, call: Call) -> Reply:
        name = self._name(call)
        await self.ready(call)
        return _reply({"name": name, "ready": True})

    async def infer(self, call: Call) -> Reply:
        name = self._name(call)
        head, packed = _parted(call)
        try:
            asked = _read(head)
        except msgspec.ValidationError as error:
            raise ProblemError(422, f"{error}.") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProblemError(400, f"The body is not JSON: {error}.") from None
        names = [one.name for one in asked.outputs] or list(self._tensors)
        if not self._tensors.keys() >= set(names):
            raise ProblemError(
                422, f"The outputs are {' and '.join(self._tensors)}, and {names} were asked for."
            )
        columns = columns_of(asked.inputs, packed)
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        request, body = await self._service.predict(msgspec.json.encode({"rows": rows}))
        answer = self._answered(body)
        outputs = [
            Tensor(
                one.name,
                _shape(len(rows), one.width),
                one.datatype,
                [value for found in answer.predictions for value in one.read(found)],
            )
            for one in map(self._tensors.__getitem__, names)
        ]
        reply = {
            "model_name": name,
            "model_version": answer.model_version,
            "id": asked.id or request,
            "outputs": outputs,
        }
        return _reply(reply)._replace(headers=((b"x-request-id", request.encode()),))

    def _name(self, call: Call) -> str:
        name: str = call.scope["path_params"]["name"]
        if name != self._contract.name:
            raise ProblemError(404, f"There is no model {name!r}: the one here is {self._contract.name!r}.")
        return name


def _parted(call: Call) -> tuple[bytes, bytes]:
    length = call.headers.get(HEAD_LENGTH)
    if length is None:
        return call.body, b""
    if not length.isdigit() or len(length) > 9 or int(length) > len(call.body):  # noqa: PLR2004 (digits)
        raise ProblemError(400, "Inference-Header-Content-Length is not the length of the JSON in the body.")
    return call.body[: int(length)], call.body[int(length) :]


def _shape(rows: int, width: int) -> list[int]:
    return [rows] if width == 1 else [rows, width]


def _datatype(column: Column) -> str:
    if isinstance(column, NumberColumn):
        return "INT64" if column.type == "integer" else "FP64"
    return "BYTES"


def _reply(answer: Any) -> Reply:
    return Reply(msgspec.json.encode(answer))
