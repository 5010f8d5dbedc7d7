"""Fast path for FastAPI routes whose endpoint takes the raw request and returns a response.

FastAPI documents such a route like any other, but its middleware, routing and dependency resolution cost more
than a prediction. So `RequestMiddleware` calls the endpoint directly when a request has no query string,
after `Admission` has admitted it. All other requests, and all other kinds of routes, are handled by FastAPI.
"""

import inspect
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from fivestage.serving.admission import KEY, Admission
from fivestage.serving.problems import ProblemError, not_json

JSON = b"application/json"
WINDOW_BITS = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}  # for zlib, by Content-Encoding


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """A FastAPI route that can be called directly, with its admission control."""

    route: APIRoute
    admission: Admission

    async def respond(self, request: Request, body: bytes) -> Response:
        """Call the endpoint with a request whose body has been read."""
        request._body = body  # noqa: SLF001 (as in FastAPI's "Custom Request and APIRoute class")
        with self.admission:
            response: Response = await self.route.endpoint(request)
            return response


def direct_routes(routes: Iterable[BaseRoute]) -> dict[tuple[str, str], DirectRoute]:
    """Select the routes that can be called directly, by method and path."""
    direct = {}
    for route in routes:
        if isinstance(route, APIRoute) and _takes_raw_requests(route):
            guards = [one.dependency for one in route.dependencies if one.dependency is not KEY]
            if len(guards) == 1 and isinstance(guards[0], Admission):
                for method in route.methods or ():
                    direct[method, route.path] = DirectRoute(route, guards[0])
    return direct


def _takes_raw_requests(route: APIRoute) -> bool:
    signature = inspect.signature(route.endpoint)
    parameters = list(signature.parameters.values())
    return (
        inspect.iscoroutinefunction(route.endpoint)
        and [one.annotation for one in parameters[:1]] == [Request]
        and signature.return_annotation is Response
        and all(one.default is not inspect.Parameter.empty for one in parameters[1:])
    )


class JsonBytes(Response):
    """A JSON response whose body is already encoded.

    Args:
        body: The JSON.
        identifier: The request's identifier, sent as `x-request-id`.
    """

    def __init__(self, body: bytes, identifier: str = "") -> None:
        self.status_code, self.body, self.background = 200, body, None
        self.raw_headers = [(b"content-type", JSON), (b"content-length", b"%d" % len(body))]
        if identifier:
            self.raw_headers.append((b"x-request-id", identifier.encode()))


async def read_body(request: Request, largest: int, *types: bytes) -> bytes:
    """Read and decompress the body of a request; refuse other content types and bodies that are too large."""
    kind, encoding = b"", b"identity"
    for name, value in request.scope["headers"]:  # `request.headers` costs more than decoding a row
        if name == b"content-type":
            kind = value
        elif name == b"content-encoding":
            encoding = value.strip().lower()
    # A missing Content-Type is refused too: browsers send such requests cross-site without a CORS preflight.
    if kind != JSON and kind.partition(b";")[0].strip().lower() not in (JSON, *types):
        raise not_json(kind.decode("latin-1"))
    body = await request.body()
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
    if not decompressor.eof:
        raise ProblemError(400, f"The {name} body is truncated.")
    return decompressed
