"""Who may ask, from where, how often, how many at once: the dependency of all routes that are not public."""

import hmac
import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable

from fastapi import Depends
from fastapi.params import Depends as Dependency
from fastapi.security import APIKeyHeader
from starlette.requests import Request
from starlette.types import Scope

from fivestage.serving.problems import ProblemError, too_many
from fivestage.serving.service_settings import Settings

KEY = APIKeyHeader(
    name="X-API-Key", scheme_name="API key", description="Or as a bearer token.", auto_error=False
)
CLIENTS = 10_000  # whose rate is remembered
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))  # methods that change nothing
SAME = frozenset((b"same-origin", b"none"))  # what Sec-Fetch-Site says of pages of ours, and of no page
_FORWARDED = re.compile(r'for="?\[?([^\]";,\s]+)', re.IGNORECASE)
_PORT = re.compile(r"^([^:]+):\d+$")


class Admission:
    """API keys, origins, rates, and the number of requests that are being answered, of one application."""

    def __init__(self, settings: Settings) -> None:
        self.in_flight = 0
        self._max_in_flight = settings.max_in_flight
        self._keys = tuple(key.encode() for key in settings.keys)
        self._rate, self._burst = settings.rate_per_second, settings.rate_per_second * settings.burst_seconds
        self._proxies, self._origins = settings.proxies, settings.origins
        self._clients: OrderedDict[bytes | str, tuple[float, float]] = OrderedDict()  # tokens left, and when

    @property
    def dependencies(self) -> list[Dependency]:
        """For `FastAPI(dependencies=...)`: routes of the application then have keys, limits and a padlock."""
        return [Depends(self), *([Depends(KEY)] if self._keys else [])]

    @property
    def is_full(self) -> bool:
        """Whether as many requests are being answered as may be."""
        return self.in_flight >= self._max_in_flight

    async def __call__(self, request: Request) -> AsyncIterator[None]:
        """Let a request in, and count it until it is answered; see FastAPI's dependencies with yield."""
        self.identify(request.scope)
        with self:
            yield

    def __enter__(self) -> None:
        """Take a place."""
        if self.is_full:
            raise too_many()
        self.in_flight += 1

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self.in_flight -= 1

    def identify(self, scope: Scope) -> None:
        """Know the caller, and how often it calls."""
        headers = dict(scope["headers"])
        if scope["method"] not in SAFE and not self._from_here(headers):
            raise ProblemError(
                403,
                "Pages of other sites may not send requests here; SERVE_ALLOWED_ORIGINS names exceptions.",
            )
        if not self._keys and not self._rate:
            return
        key = b""
        if self._keys:
            key = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
            # Every key is compared in full, so that the time taken tells nothing.
            if sum([hmac.compare_digest(key, one) for one in self._keys]) != 1:
                raise ProblemError(
                    401, "A valid API key is needed in X-API-Key.", headers={"WWW-Authenticate": "Bearer"}
                )
        if self._rate:
            self._spend(key or self._address(scope))

    def _from_here(self, headers: dict[bytes, bytes]) -> bool:
        """Whether no page of another site makes a browser send this."""
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1") in self._origins:
            return True
        site = headers.get(b"sec-fetch-site")
        if site is not None:
            return site in SAME
        return origin is None or origin.partition(b"://")[2] == headers.get(b"host")

    def _address(self, scope: Scope) -> str:
        """The client's address, as the nearest proxy that is trusted saw it."""
        address: str = scope["client"][0] if scope["client"] else ""
        if not self._proxies or not self._trusted(address):
            return address
        for hop in reversed(list(_hops(scope["headers"]))):
            address = hop
            if not self._trusted(hop):
                break
        return address

    def _trusted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)

    def _spend(self, client: bytes | str) -> None:
        now = time.monotonic()
        left, since = self._clients.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        self._clients[client] = (left - 1 if left >= 1 else left, now)
        if len(self._clients) > CLIENTS:
            self._clients.popitem(last=False)
        if left < 1:
            wait = str(max(1, round((1 - left) / self._rate)))
            raise ProblemError(429, "Too many requests from one client.", headers={"Retry-After": wait})


def _hops(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[str]:
    """The addresses that proxies have noted (RFC 7239, or X-Forwarded-For), the client's first."""
    values: dict[bytes, list[str]] = {b"forwarded": [], b"x-forwarded-for": []}
    for name, value in headers:
        if name in values:
            values[name].append(value.decode("latin-1"))
    if forwarded := ",".join(values[b"forwarded"]):
        hops = _FORWARDED.findall(forwarded)
    else:
        hops = [hop.strip() for hop in ",".join(values[b"x-forwarded-for"]).split(",") if hop.strip()]
    return (_PORT.sub(r"\1", hop) for hop in hops)
