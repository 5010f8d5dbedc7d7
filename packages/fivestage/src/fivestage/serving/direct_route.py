"""A FastAPI route for the path that carries the load: its endpoint takes the raw request, returns a response.

FastAPI documents such a route like any other. Solving its dependencies and arguments at each request would
cost more than a prediction, so a request without a query goes straight to the endpoint, once `Admission` has
let it in. Any other request, and any route of another kind or with further dependencies, takes FastAPI's way.
"""

import inspect
from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from fivestage.serving.admission import KEY, Admission

JSON_TYPE = (b"content-type", b"application/json")


class DirectRoute(APIRoute):
    """For `route_class` of a router: FastAPI's route, with the short way for endpoints that allow it."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        guards = [one.dependency for one in self.dependencies]
        admission = [one for one in guards if isinstance(one, Admission)]
        if len(admission) == 1 and len(guards) == 1 + guards.count(KEY) and _takes_raw_requests(endpoint):
            self.app = _direct(endpoint, admission[0], self.app)


def _takes_raw_requests(endpoint: Callable[..., Any]) -> bool:
    signature = inspect.signature(endpoint)
    parameters = list(signature.parameters.values())
    return (
        inspect.iscoroutinefunction(endpoint)
        and [one.annotation for one in parameters[:1]] == [Request]
        and signature.return_annotation is Response
        and all(one.default is not inspect.Parameter.empty for one in parameters[1:])
    )


class WholeRequest(Request):
    """A request whose body has most often come in one piece; see FastAPI's "Custom Request"."""

    async def body(self) -> bytes:
        """The body, kept for who asks again."""
        if not hasattr(self, "_body"):
            message = await self.receive()
            if message["type"] != "http.request":
                raise ClientDisconnect
            parts = [message.get("body", b"")]
            while message.get("more_body"):
                message = await self.receive()
                if message["type"] != "http.request":
                    raise ClientDisconnect
                parts.append(message.get("body", b""))
            self._body = b"".join(parts)
        return self._body


class JsonBytes(Response):
    """A response of JSON that is bytes already.

    Args:
        body: the JSON.
        identifier: of the request, for `x-request-id`.
    """

    def __init__(self, body: bytes, identifier: str = "") -> None:
        self.status_code, self.body, self.background = 200, body, None
        self.raw_headers = [JSON_TYPE, (b"content-length", b"%d" % len(body))]
        if identifier:
            self.raw_headers.append((b"x-request-id", identifier.encode()))


def _direct(endpoint: Callable[..., Any], admission: Admission, framework: ASGIApp) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["query_string"]:
            await framework(scope, receive, send)
            return
        admission.identify(scope)
        request = WholeRequest(scope, receive, send)
        await request.body()  # who is still sending holds no place
        admission.enter()
        try:
            response = await endpoint(request)
        finally:
            admission.in_flight -= 1
        await response(scope, receive, send)

    return answer
