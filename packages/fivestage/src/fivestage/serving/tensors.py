"""Columns of the Open Inference Protocol, as JSON or in its binary extension."""

import struct
from typing import Annotated, Any

import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType

from fivestage.serving.problems import ProblemError

Data = list[str | float | int | bool | None]
# The protocol's numbers as numpy knows them; text is counted in four bytes before each.
NUMBERS = {"BOOL": "?", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
NUMBERS |= {f"INT{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)}
NUMBERS |= {f"UINT{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)}
_COUNT = struct.Struct("<I")


class Tensor(Struct):
    """A column; without `data` where its bytes follow the request."""

    name: str
    shape: Annotated[list[int], Meta(min_length=1, max_length=2)]
    datatype: str
    data: Data | UnsetType = UNSET
    parameters: dict[str, Any] = {}


def packed_of(tensor: Tensor) -> bytes:
    """The values of a tensor as the bytes of the binary extension."""
    if tensor.datatype != "BYTES":
        return np.array(tensor.data, NUMBERS[tensor.datatype]).tobytes()
    texts = [str(one).encode() for one in tensor.data or ()]
    return b"".join([_COUNT.pack(len(text)) + text for text in texts])


def columns_of(tensors: list[Tensor], packed: bytes) -> dict[str, Data]:
    """Columns by name, all of one length; `packed` are the bytes that follow the request."""
    columns: dict[str, Data] = {}
    for tensor in tensors:
        data = tensor.data
        if data is UNSET:
            size = tensor.parameters.get("binary_data_size")
            if not isinstance(size, int) or not 0 <= size <= len(packed):
                raise ProblemError(
                    422, f"Input {tensor.name!r} has neither data nor its bytes behind the request."
                )
            data, packed = _unpacked(tensor, packed[:size]), packed[size:]
        if tensor.name in columns:
            raise ProblemError(422, f"Input {tensor.name!r} is there twice.")
        if tensor.shape[0] != len(data) or tensor.shape[1:] not in ([], [1]):
            raise ProblemError(
                422, f"Input {tensor.name!r} holds {len(data)} values, and its shape is {tensor.shape}."
            )
        columns[tensor.name] = data
    if packed:
        raise ProblemError(422, f"{len(packed)} bytes behind the request belong to no input.")
    if len({len(data) for data in columns.values()}) > 1:
        raise ProblemError(422, "The inputs must be columns of one length, which their shapes name first.")
    return columns


def _unpacked(tensor: Tensor, packed: bytes) -> Data:
    try:
        if tensor.datatype != "BYTES":
            numbers: Data = np.frombuffer(packed, NUMBERS[tensor.datatype]).tolist()
            return numbers
        texts: Data = []
        place = 0
        while place < len(packed):
            start = place + _COUNT.size
            place = start + _COUNT.unpack_from(packed, place)[0]
            texts.append(packed[start:place].decode())
    except KeyError:
        raise ProblemError(
            422, f"Input {tensor.name!r} is of type {tensor.datatype!r}, which is unknown."
        ) from None
    except (ValueError, struct.error) as error:
        raise ProblemError(422, f"Input {tensor.name!r} is not {tensor.datatype}: {error}.") from None
    if place != len(packed):
        raise ProblemError(422, f"Input {tensor.name!r} ends within a text.")
    return texts
