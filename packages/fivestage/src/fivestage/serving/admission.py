"""Admission control for routes that are not public: API keys, origins, rate limits, concurrency."""

import asyncio
import hmac
import ipaddress
import random
import re
import time
from collections import OrderedDict
from collections.abc import Iterable

from starlette.types import Scope

from fivestage.serving.problems import ProblemError, too_many
from fivestage.serving.service_settings import Settings

MAX_CLIENTS = 10_000  # tracked by the rate limit; beyond that the least recent one is forgotten
# A refusal is held back for about this long: clients that try again at once would slow down the predictions.
REFUSAL_SECONDS = 0.1
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
OWN_SITE = frozenset((b"same-origin", b"none"))  # Sec-Fetch-Site of own pages, and of no page
_BEARER = re.compile(rb"^bearer +", re.IGNORECASE)
_FORWARDED = re.compile(r'for="?\[?([^\]";,\s]+)', re.IGNORECASE)
_PORT = re.compile(r"^([^:]+):\d+$")


class Admission:
    """Admission control of one application, with its count of open requests."""

    def __init__(self, settings: Settings) -> None:
        self.in_flight = 0
        self._max_in_flight = settings.max_in_flight
        self._keys = tuple(key.encode() for key in settings.keys)
        self._rate, self._burst = settings.rate_per_second, settings.rate_per_second * settings.burst_seconds
        self._proxies, self._origins = settings.proxies, settings.origins
        # Token buckets: tokens left, and as of when.
        self._clients: OrderedDict[bytes | str, tuple[float, float]] = OrderedDict()

    async def __aenter__(self) -> None:
        """Count a request as open, or refuse it with 503 when the limit is reached."""
        if self.in_flight >= self._max_in_flight:
            await asyncio.sleep(REFUSAL_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 (spreads them)
            raise too_many()
        self.in_flight += 1

    async def __aexit__(self, *_: object) -> None:
        """Stop counting the request."""
        self.in_flight -= 1

    def identify(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Check the origin, the API key and the request rate of a client, or refuse with 403, 401 or 429."""
        if scope.get("method") not in SAFE_METHODS and not self._is_allowed_origin(headers):
            raise ProblemError(
                403,
                "Requests from pages of other sites are refused; SERVE_ALLOWED_ORIGINS lists the exceptions.",
            )
        if not self._keys and not self._rate:
            return
        key = b""
        if self._keys:
            key = headers.get(b"x-api-key") or _BEARER.sub(b"", headers.get(b"authorization", b""))
            # Comparing every key in constant time keeps timing from revealing anything about them.
            if sum([hmac.compare_digest(key, one) for one in self._keys]) != 1:
                raise ProblemError(
                    401,
                    "Send a valid API key in X-API-Key or as a bearer token.",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        if self._rate:
            self._limit_rate(key or self._address(scope))

    def _is_allowed_origin(self, headers: dict[bytes, bytes]) -> bool:
        """Return False if a page of a foreign site made the browser send the request (CSRF)."""
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1") in self._origins:
            return True
        site = headers.get(b"sec-fetch-site")
        if site is not None:
            return site in OWN_SITE
        return origin is None or origin.partition(b"://")[2] == headers.get(b"host")

    def _address(self, scope: Scope) -> str:
        """Return the client's address: the last one in the chain of proxies that is not a trusted proxy."""
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

    def _limit_rate(self, client: bytes | str) -> None:
        """Take a token from the client's bucket, or refuse with 429 when it is empty."""
        now = time.monotonic()
        tokens, updated_at = self._clients.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - updated_at) * self._rate)
        self._clients[client] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        if tokens < 1:
            seconds = max(1, round((1 - tokens) / self._rate))
            raise ProblemError(
                429,
                f"Too many requests from this client: retry after {seconds} s.",
                headers={"Retry-After": str(seconds)},
            )


def _hops(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[str]:
    """Return the addresses that proxies recorded in Forwarded (RFC 7239) or X-Forwarded-For, client first."""
    values: dict[bytes, list[str]] = {b"forwarded": [], b"x-forwarded-for": []}
    for name, value in headers:
        if name in values:
            values[name].append(value.decode("latin-1"))
    if forwarded := ",".join(values[b"forwarded"]):
        hops = _FORWARDED.findall(forwarded)
    else:
        hops = [hop.strip() for hop in ",".join(values[b"x-forwarded-for"]).split(",") if hop.strip()]
    return (_PORT.sub(r"\1", hop) for hop in hops)
