"""The body of a request as bytes of JSON: of the right type, unpacked within the limit."""

import zlib

from starlette.requests import Request

from fivestage.serving.problems import ProblemError

JSON = b"application/json"
WINDOW = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}  # of zlib, by Content-Encoding


async def read_body(request: Request, largest: int, *types: bytes) -> bytes:
    """The body of a request."""
    kind, packing = b"", b"identity"
    for name, value in request.scope["headers"]:  # `request.headers` would cost more than reading the row
        if name == b"content-type":
            kind = value
        elif name == b"content-encoding":
            packing = value.strip().lower()
    # Without a Content-Type it is refused as well: a browser sends such for any page on any site.
    if kind != JSON and kind.partition(b";")[0].strip().lower() not in (JSON, *types):
        raise ProblemError(
            415, f"Send Content-Type: application/json, not {kind.decode('latin-1') or 'none'}."
        )
    body = await request.body()
    return body if packing == b"identity" else _unpacked(body, packing, largest)


def _unpacked(body: bytes, packing: bytes, largest: int) -> bytes:
    called = packing.decode("latin-1")
    if packing not in WINDOW:
        raise ProblemError(415, f"Send the body as it is, or packed with gzip or deflate, not {called}.")
    unpacker = zlib.decompressobj(WINDOW[packing])
    try:
        unpacked = unpacker.decompress(body, largest + 1)
    except zlib.error as error:
        raise ProblemError(400, f"The body is not {called}: {error}.") from None
    if len(unpacked) > largest:
        raise ProblemError(413, f"The body unpacks to too much: send at most {largest} bytes.")
    if not unpacker.eof:
        raise ProblemError(400, f"The body is {called} that ends early.")
    return unpacked
