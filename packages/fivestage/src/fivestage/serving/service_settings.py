"""Settings of the service, read from environment variables such as `SERVE_PORT=9000`."""

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fivestage.common.errors import UserError
from fivestage.common.settings import DEMO, VAR

PREFIX = "SERVE_"


class Settings(BaseModel):
    """Settings of the service: address, model, log, limits and access."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    folder: Path = VAR / "serving"
    model: str = ""  # folder of the artifact to serve if `folder` names none, such as that in an image
    model_version: str = ""  # its version
    model_digest: str = ""  # its expected digest
    database: str = ""  # URL, for predictions and events; by default an SQLite file in the folder
    when_log_fails: Literal["spool", "refuse"] = "spool"  # keep answers on disk, or respond with 503
    watch_seconds: float = Field(default=0.5, gt=0)  # seconds between checks of `current_file`
    poll_seconds: float = Field(default=1.0, gt=0)  # between reads of events that other processes logged
    max_body_bytes: int = Field(default=2_000_000, ge=1)
    max_in_flight: int = Field(default=64, ge=1)  # requests at once; more are refused with 503
    max_waiting_jobs: int = Field(default=8, ge=1)  # large batches and explanations in the queue
    api_keys: str = ""  # separated by commas; if set, requests need one of them
    rate_per_second: float = Field(default=0, ge=0)  # per client (key or address); 0: no limit
    burst_seconds: float = Field(default=2, gt=0)  # seconds of the rate that a burst may use at once
    trusted_proxies: str = ""  # networks whose Forwarded and X-Forwarded-For headers are trusted
    allowed_origins: str = ""  # other sites whose pages may send requests, such as https://app.example
    log_requests: bool = False
    max_connections: int = Field(default=1000, ge=1)  # per process; more are refused with 503
    request_seconds: int = Field(default=20, ge=1)  # how long a request may take to arrive
    keep_alive_seconds: int = Field(default=75, ge=1)  # how long an idle connection stays open
    workers: int = Field(default=1, ge=1)  # processes that share the port
    drain_seconds: float = Field(default=0.0, ge=0)  # from "not ready" to stopping, for balancers to notice

    @field_validator("api_keys")
    @classmethod
    def keys_are_not_blank(cls, value: str) -> str:
        """Fail closed: a variable that is set but has an empty key must not turn authentication off."""
        if value and not all(key.strip() for key in value.split(",")):
            raise ValueError("has an empty key: separate keys with single commas")
        return value

    @field_validator("allowed_origins")
    @classmethod
    def origins_are_sites(cls, value: str) -> str:
        """Accept only sites: each that is not named stays refused, so `*` would allow none."""
        if unknown := [one for one in _parts(value) if not re.fullmatch(r"https?://[^/\s*]+/?", one)]:
            raise ValueError(f"lists sites such as https://app.example, not {unknown[0]!r}")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def proxies_are_networks(cls, value: str) -> str:
        """Accept only addresses and networks: a host name would need a DNS lookup per request."""
        for one in _parts(value):
            ipaddress.ip_network(one)
        return value

    @property
    def keys(self) -> tuple[str, ...]:
        """The API keys."""
        return tuple(dict.fromkeys(_parts(self.api_keys)))

    @property
    def proxies(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The networks of trusted proxies."""
        return tuple(ipaddress.ip_network(one) for one in _parts(self.trusted_proxies))

    @property
    def origins(self) -> frozenset[str]:
        """The other sites whose pages may send requests, as origins."""
        return frozenset(one.rstrip("/") for one in _parts(self.allowed_origins))

    @property
    def is_demo(self) -> bool:
        """Whether the service is that of `make demo`."""
        return self.folder == DEMO

    @property
    def current_file(self) -> Path:
        """The file that names the version to serve."""
        return self.folder / "current"

    @property
    def shadow_file(self) -> Path:
        """The file that names the challenger to shadow with; it does not exist if there is none."""
        return self.folder / "shadow"

    @property
    def worker_metrics(self) -> Path:
        """The folder in which workers share their metrics (prometheus_client's multiprocess mode)."""
        return self.folder / "worker-metrics"

    @property
    def database_url(self) -> str:
        """The URL of the database."""
        return self.database or f"sqlite:///{self.folder / 'log.sqlite'}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings from the environment; those not set have their defaults."""
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
        """Read the settings from the environment, for a service that keeps its state in a folder.

        The demo has its own database, to keep its requests out of the operator's log, and no rate limit.

        Args:
            folder: Folder of the service's state; `DEMO` for the demo.

        Returns:
            The settings.

        Raises:
            UserError: If a variable is unknown or has an invalid value.
        """
        state: dict[str, object] = {"folder": Path(folder)}
        demo: dict[str, object] = {"database": "", "rate_per_second": 0.0} if Path(folder) == DEMO else {}
        return cls.from_environment().model_copy(update=state | demo)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
