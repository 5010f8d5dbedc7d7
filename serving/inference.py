"""The Open Inference Protocol v2, for clients of that ecosystem: columns as tensors of one dimension."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from core.contract import Column, Contract, Number
from serving.door import Call, Reply
from serving.problems import Refusal
from serving.schema import Answer
from serving.service import Service

Data = list[str | float | int | bool | None]


class Tensor(Struct):
    """A column."""

    name: str
    shape: Annotated[list[int], Meta(min_length=1, max_length=2)]
    datatype: str
    data: Data
    parameters: dict[str, Any] = {}


class Inference(Struct):
    """A request; `outputs` and `parameters` are taken and not needed."""

    inputs: Annotated[list[Tensor], Meta(min_length=1)]
    id: str | None = None
    outputs: list[Any] = []
    parameters: dict[str, Any] = {}


_read = msgspec.json.Decoder(Inference).decode
_answered = msgspec.json.Decoder(Answer).decode


class Protocol:
    """What the protocol's paths answer."""

    def __init__(self, service: Service, contract: Contract) -> None:
        self._service, self._contract = service, contract

    async def server(self, _: Call) -> Reply:
        return _reply({"name": "fivestage", "version": "1", "extensions": []})

    async def live(self, _: Call) -> Reply:
        return _reply({"live": True})

    async def ready(self, _: Call) -> Reply:
        if not self._service.ready:
            raise Refusal(503, self._service.trouble or "The service is not ready.")
        return _reply({"ready": True})

    async def model(self, call: Call) -> Reply:
        self._name(call)
        inputs = [
            {"name": name, "datatype": _datatype(column), "shape": [-1]}
            for name, column in self._contract.columns.items()
        ]
        outputs = [
            {"name": "probability", "datatype": "FP64", "shape": [-1]},
            {"name": "decision", "datatype": "BYTES", "shape": [-1]},
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
        try:
            asked = _read(call.body)
        except msgspec.ValidationError as error:
            raise Refusal(422, f"{error}.") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refusal(400, f"The body is not JSON: {error}.") from None
        lengths = {len(tensor.data) for tensor in asked.inputs}
        if len(lengths) != 1 or any(tensor.shape[0] != len(tensor.data) for tensor in asked.inputs):
            raise Refusal(422, "The inputs must be columns of one length, which their shapes name first.")
        names = [tensor.name for tensor in asked.inputs]
        columns = (tensor.data for tensor in asked.inputs)
        rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
        request, body = await self._service.predict(msgspec.json.encode({"rows": rows}))
        answer = _answered(body)
        count = [len(rows)]
        found = answer.predictions
        outputs = [
            Tensor("probability", count, "FP64", [one.probability for one in found]),
            Tensor("decision", count, "BYTES", [one.decision for one in found]),
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
            raise Refusal(404, f"There is no model {name!r}: the one here is {self._contract.name!r}.")
        return name


def _datatype(column: Column) -> str:
    if isinstance(column, Number):
        return "INT64" if column.type == "integer" else "FP64"
    return "BYTES"


def _reply(answer: Any) -> Reply:
    return Reply(msgspec.json.encode(answer))
