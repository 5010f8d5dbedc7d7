"""A Postgres of the tests' own, where one is installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.serving.conftest import free_port


@dataclass(frozen=True)
class Postgres:
    """A server that can be stopped and started; its databases go with it."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        listen = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        _run("pg_ctl", "-D", self.folder / "data", "-w", "-l", self.folder / "log", "-o", listen, "start")

    def stop(self) -> None:
        _run("pg_ctl", "-D", self.folder / "data", "-w", "-m", "immediate", "stop")


def program(name: str) -> str | None:
    """Where a program of Postgres is: Debian keeps some of them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


@contextmanager
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="fivestage-postgres-"))
    try:
        if os.getuid() == 0:  # which Postgres refuses to run as
            os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
        _run("initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
        server = Postgres(folder, free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(name: str, *arguments: str | Path) -> None:
    found = program(name)
    assert found is not None
    user = "nobody" if os.getuid() == 0 else None
    subprocess.run(
        [found, *map(str, arguments)], check=True, user=user, cwd="/", stdout=subprocess.DEVNULL, timeout=600
    )
