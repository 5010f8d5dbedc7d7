"""Bodies of requests as bytes, for routes that decode JSON themselves."""

import zlib

from starlette.requests import Request

from fivestage.serving.problems import ProblemError, not_json

JSON = b"application/json"
WINDOW_BITS = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}  # for zlib, by Content-Encoding


async def read_body(request: Request, largest: int, *types: bytes) -> bytes:
    """Read and decompress the body of a request; refuse other content types and bodies that are too large."""
    headers = dict(request.scope["headers"])  # `request.headers` costs more than decoding a row
    kind, encoding = headers.get(b"content-type", b""), headers.get(b"content-encoding", b"identity")
    # A missing Content-Type is refused too: browsers send such requests cross-site without a CORS preflight.
    if kind != JSON and kind.partition(b";")[0].strip().lower() not in (JSON, *types):
        raise not_json(kind.decode("latin-1"))
    body = await request.body()
    encoding = encoding.strip().lower()
    return body if encoding == b"identity" else _decompressed(body, encoding, largest)


def _decompressed(body: bytes, encoding: bytes, largest: int) -> bytes:
    name = encoding.decode("latin-1")
    if encoding not in WINDOW_BITS:
        raise ProblemError(415, f"Content-Encoding {name} is not supported: send gzip, deflate or none.")
    decompressor = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        decompressed = decompressor.decompress(body, largest + 1)
    except zlib.error as error:
        raise ProblemError(400, f"The body is not valid {name}: {error}.") from None
    if len(decompressed) > largest:
        raise ProblemError(413, f"The decompressed body is too large: send at most {largest} bytes.")
    if not decompressor.eof or decompressor.unused_data:
        raise ProblemError(400, f"The {name} body is truncated, or more follows it.")
    return decompressed
