"""Tensors of the Open Inference Protocol, as JSON or in its binary extension."""

import struct
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType

from fivestage.serving.problems import ProblemError

Data = list[str | float | int | bool | None]
# numpy types of the protocol's number types. In binary form, each string follows its length in four bytes.
NUMBERS = {"BOOL": "?", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
NUMBERS |= {f"INT{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)}
NUMBERS |= {f"UINT{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)}
_LENGTH = struct.Struct("<I")


class Tensor(Struct):
    """A column of values; without `data` if they follow the JSON in binary form."""

    name: str
    shape: Annotated[list[int], Meta(min_length=1, max_length=2)]
    datatype: Literal[("BYTES", *NUMBERS)]  # type: ignore[valid-type]
    data: Data | UnsetType = UNSET
    parameters: dict[str, Any] = {}


def packed_of(tensor: Tensor) -> bytes:
    """Encode the values of a tensor in the binary extension's format."""
    if tensor.datatype != "BYTES":
        return np.array(tensor.data, NUMBERS[tensor.datatype]).tobytes()
    texts = [str(one).encode() for one in tensor.data or ()]
    return b"".join([_LENGTH.pack(len(text)) + text for text in texts])


def columns_of(tensors: list[Tensor], packed: bytes, limit: int) -> dict[str, Data]:
    """Return the columns by name, all of one length; `packed` are the bytes that follow the JSON."""
    columns: dict[str, Data] = {}
    for tensor in tensors:
        data, rows = tensor.data, tensor.shape[0]
        if rows > limit:  # before any of them is unpacked: a compressed body may hold millions
            raise ProblemError(422, f"{rows} rows are too many: send at most {limit} at once.")
        if data is UNSET:
            size = tensor.parameters.get("binary_data_size")
            if not isinstance(size, int) or not 0 <= size <= len(packed):
                raise ProblemError(
                    422, f"Input {tensor.name!r} has neither data nor a valid binary_data_size."
                )
            data, packed = _unpacked(tensor, packed[:size]), packed[size:]
        if tensor.name in columns:
            raise ProblemError(422, f"Input {tensor.name!r} is repeated: send each input once.")
        if rows != len(data) or tensor.shape[1:] not in ([], [1]):
            raise ProblemError(
                422, f"Input {tensor.name!r} has {len(data)} values, but its shape is {tensor.shape}."
            )
        columns[tensor.name] = data
    if packed:
        raise ProblemError(422, f"{len(packed)} bytes after the last input belong to no input.")
    if len({len(data) for data in columns.values()}) > 1:
        raise ProblemError(422, "All inputs must have the same length, the first dimension of their shapes.")
    return columns


def _unpacked(tensor: Tensor, packed: bytes) -> Data:
    try:
        if tensor.datatype != "BYTES":
            numbers: Data = np.frombuffer(packed, NUMBERS[tensor.datatype]).tolist()
            return numbers
        texts: Data = []
        end = 0
        for _ in range(tensor.shape[0]):
            start = end + _LENGTH.size
            end = start + _LENGTH.unpack_from(packed, end)[0]
            texts.append(packed[start:end].decode())
    except (ValueError, struct.error) as error:
        raise ProblemError(422, f"Input {tensor.name!r} is not valid {tensor.datatype}: {error}.") from None
    if end != len(packed):
        raise ProblemError(422, f"Input {tensor.name!r} does not hold as many strings as its shape says.")
    return texts
