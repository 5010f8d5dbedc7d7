"""A FastAPI route for the path that carries the load: its endpoint takes the raw request, returns a response.

FastAPI documents such a route like any other. Its middlewares, routing and solving of arguments would cost
more than a prediction, so `RequestMiddleware` asks it for an answer itself where a request has no query, once
`Admission` has let it in. Any other request, and any route of another kind or with further dependencies,
takes FastAPI's way.
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
WINDOW = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}  # of zlib, by Content-Encoding


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """A FastAPI route that needs no framework to answer, and what lets its requests in."""

    route: APIRoute
    admission: Admission

    async def respond(self, request: Request, body: bytes) -> Response:
        """What the endpoint answers to a request whose body has come."""
        request._body = body  # noqa: SLF001 (as in FastAPI's "Custom Request and APIRoute class")
        with self.admission:
            response: Response = await self.route.endpoint(request)
            return response


def direct_routes(routes: Iterable[BaseRoute]) -> dict[tuple[str, str], DirectRoute]:
    """Those of some routes that can be asked directly, by method and path."""
    found = {}
    for route in routes:
        if isinstance(route, APIRoute) and _takes_raw_requests(route):
            guards = [one.dependency for one in route.dependencies if one.dependency is not KEY]
            if len(guards) == 1 and isinstance(guards[0], Admission):
                for method in route.methods or ():
                    found[method, route.path] = DirectRoute(route, guards[0])
    return found


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
    """A response of JSON that is bytes already.

    Args:
        body: the JSON.
        identifier: of the request, for `x-request-id`.
    """

    def __init__(self, body: bytes, identifier: str = "") -> None:
        self.status_code, self.body, self.background = 200, body, None
        self.raw_headers = [(b"content-type", JSON), (b"content-length", b"%d" % len(body))]
        if identifier:
            self.raw_headers.append((b"x-request-id", identifier.encode()))


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
        raise not_json(kind.decode("latin-1"))
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
