"""What an operator may set, from the environment: `SERVE_PORT=9000` and so on."""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fivestage.common.errors import UserError
from fivestage.common.settings import DEMO, VAR

PREFIX = "SERVE_"


class Settings(BaseModel):
    """Where the service listens, what it serves, and where it writes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    folder: Path = VAR / "serving"
    model: str = ""  # folder of the artifact to serve while `folder` points to none: the one in an image
    model_version: str = ""  # its version
    model_digest: str = ""  # the digest that it must have
    database: str = ""  # of predictions and events; by default an SQLite file in the folder
    when_log_fails: Literal["spool", "refuse"] = "spool"  # keep answers on disk meanwhile, or answer 503
    watch_seconds: float = Field(default=0.5, gt=0)  # how often `current_file` is looked at
    poll_seconds: float = Field(default=1.0, gt=0)  # how often to look for events sent to other processes
    max_body_bytes: int = Field(default=2_000_000, ge=1)
    max_in_flight: int = Field(default=64, ge=1)  # more at once are turned away with 503
    max_waiting_jobs: int = Field(default=8, ge=1)  # large batches and explanations that wait for the thread
    api_keys: str = ""  # separated by commas; when set, requests need one of them
    rate_per_second: float = Field(default=0, ge=0)  # per client (key or address); 0: no limit
    burst_seconds: float = Field(default=2, gt=0)  # of that rate, which may come at once
    trusted_proxies: str = ""  # addresses or networks whose Forwarded and X-Forwarded-For are believed
    allowed_origins: str = ""  # other sites whose pages may send requests, such as https://app.example
    log_requests: bool = False
    max_connections: int = Field(default=1000, ge=1)  # a process; more are turned away with 503
    request_seconds: int = Field(default=20, ge=1)  # for a request to arrive whole
    keep_alive_seconds: int = Field(default=75, ge=1)  # for the next one on a connection to begin
    workers: int = Field(default=1, ge=1)  # processes on the port
    drain_seconds: float = Field(default=0.0, ge=0)  # from "not ready" to closing, until balancers notice

    @field_validator("api_keys")
    @classmethod
    def keys_are_not_blank(cls, value: str) -> str:
        """Fail closed: a setting that is there but holds no key is a mistake, not an open door."""
        if value and not all(key.strip() for key in value.split(",")):
            raise ValueError("holds an empty key")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def proxies_are_networks(cls, value: str) -> str:
        """A name would have to be looked up at each request."""
        for one in _parts(value):
            ipaddress.ip_network(one)
        return value

    @property
    def keys(self) -> tuple[str, ...]:
        """The API keys."""
        return tuple(dict.fromkeys(_parts(self.api_keys)))

    @property
    def proxies(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The networks whose word on the client's address is taken."""
        return tuple(ipaddress.ip_network(one) for one in _parts(self.trusted_proxies))

    @property
    def origins(self) -> frozenset[str]:
        """The other sites whose pages may send requests."""
        return frozenset(one.rstrip("/") for one in _parts(self.allowed_origins))

    @property
    def current_file(self) -> Path:
        """The file that names the version to serve."""
        return self.folder / "current"

    @property
    def shadow_file(self) -> Path:
        """The file that names the version to shadow with; there is none when nothing shadows."""
        return self.folder / "shadow"

    @property
    def worker_metrics(self) -> Path:
        """The folder through which workers share their metrics (prometheus_client's multiprocess mode)."""
        return self.folder / "worker-metrics"

    @property
    def database_url(self) -> str:
        """The database as a URL."""
        return self.database or f"sqlite:///{self.folder / 'log.sqlite'}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings named in the environment, the defaults elsewhere."""
        given = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX)
        }
        try:
            return cls(**given)  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise UserError(f"{PREFIX}{str(first['loc'][0]).upper()}: {first['msg']}.") from error

    @classmethod
    def of_folder(cls, folder: str) -> Self:
        """The settings named in the environment for a service with its state in a folder of its own.

        The demo is not logged among the operator's requests: it has a database of its own, and no limits.

        Args:
            folder: of the service's state; `DEMO` for the demo.

        Returns:
            The settings.

        Raises:
            UserError: naming the variable, when the environment holds an illegal or unknown one.
        """
        own: dict[str, object] = {"folder": Path(folder)}
        demo: dict[str, object] = {"database": "", "rate_per_second": 0.0} if Path(folder) == DEMO else {}
        return cls.from_environment().model_copy(update=own | demo)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
