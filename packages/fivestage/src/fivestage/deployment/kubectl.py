"""kubectl as functions, for whatever cluster its configuration names: its errors are sentences."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from fivestage.common.errors import UserError

Manifest = dict[str, Any]
_LOGGED = re.compile(r"[IWEF]\d{4} ")
_NO_CLUSTER = "connection to the server localhost:8080 was refused"  # where kubectl looks without being told
_FORWARDED = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Cluster:
    """A namespace of a cluster; without a context, kubectl's current one."""

    namespace: str
    context: str = ""

    def run(self, *words: str, given: str = "", seconds: float = 60) -> str:
        """What kubectl prints.

        Raises:
            UserError: with what it complains of.
        """
        return self._done(*words, given=given, seconds=seconds).stdout

    def _done(self, *words: str, given: str, seconds: float) -> "subprocess.CompletedProcess[str]":
        try:
            done = subprocess.run(  # noqa: S603 (the words are ours)
                self._words(*words), input=given, capture_output=True, text=True, timeout=seconds, check=False
            )
        except FileNotFoundError as error:
            raise UserError("kubectl is not installed, or not on the PATH: install it.") from error
        except subprocess.TimeoutExpired as error:
            raise UserError(f"kubectl {words[0]} has no answer after {seconds:.0f} s.") from error
        if done.returncode:
            raise UserError(f"kubectl {words[0]}: {_complaint(done.stderr) or done.stdout}")
        return done

    def render(self, overlay: Path) -> list[Manifest]:
        """The manifests of a kustomize folder.

        Raises:
            UserError: when it is not one.
        """
        return [one for one in yaml.safe_load_all(self.run("kustomize", str(overlay))) if one]

    def apply(self, manifests: Sequence[Manifest], *, dry: bool = False) -> list[str]:
        """Apply on the server's side, or only ask whether it would, and return what the server warns of.

        Fields that others have set are taken over. It is done by the name that kubectl itself goes by, and
        noted where a plain `kubectl apply` looks: either may follow the other, without a warning.

        Raises:
            UserError: when the server refuses one.
        """
        if not manifests:
            return []
        given, dry_run = yaml.safe_dump_all(manifests), ["--dry-run=server"] if dry else []
        words = ["--server-side", "--force-conflicts", *dry_run]
        done = self._done("apply", *words, "-f", "-", given=given, seconds=180)
        if not dry:
            self.run("apply", "set-last-applied", "--create-annotation", "-f", "-", given=given, seconds=180)
        return [line for line in done.stderr.splitlines() if line.startswith("Warning:")]

    def get(self, kind: str, name: str) -> Manifest | None:
        """An object, if there is one."""
        found = self.run("get", kind, name, "--ignore-not-found", "--output=json")
        return json.loads(found) if found.strip() else None

    def find(self, kind: str, labels: Mapping[str, str]) -> list[Manifest]:
        """The objects of a kind with these labels."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        found = self.run("get", kind, f"--selector={selector}", "--output=json")
        items: list[Manifest] = json.loads(found)["items"]
        return items

    def create(self, manifest: Manifest) -> None:
        """Create an object.

        Raises:
            UserError: when it exists already.
        """
        self.run("create", "-f", "-", given=yaml.safe_dump(manifest))

    def replace(self, manifest: Manifest) -> None:
        """Replace an object, of any size.

        Raises:
            UserError: when there is none.
        """
        self.run("replace", "-f", "-", given=yaml.safe_dump(manifest))

    def delete(self, kind: str, name: str, *, wait: bool = False) -> None:
        """Delete an object, if there is one."""
        self.run("delete", kind, name, "--ignore-not-found", f"--wait={str(wait).lower()}", seconds=120)

    @contextmanager
    def forward(self, target: str, port: int) -> Iterator[int]:
        """A port of this machine that leads to a port of `pod/NAME` or `service/NAME`.

        Raises:
            UserError: when there is no way there.
        """
        words = self._words("port-forward", "--address=127.0.0.1", target, f":{port}")
        with subprocess.Popen(  # noqa: S603 (the words are ours)
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
        ) as process:
            try:
                yield _local_port(process, target)
            finally:
                process.terminate()

    def _words(self, *words: str) -> list[str]:
        context = [f"--context={self.context}"] if self.context else []
        return ["kubectl", *context, f"--namespace={self.namespace}", *words]


def _complaint(said: str) -> str:
    """What kubectl says, without what its library logs of each attempt."""
    told = " ".join(" ".join(line.split()) for line in said.splitlines() if not _LOGGED.match(line)).strip()
    return f"{told} KUBECONFIG names no cluster that runs." if _NO_CLUSTER in told else told


def _local_port(process: "subprocess.Popen[str]", target: str) -> int:
    out: IO[str] | None = process.stdout
    line = out.readline() if out else ""
    found = _FORWARDED.match(line)
    if found is None:
        process.kill()
        complaint = process.stderr.read() if process.stderr else ""
        raise UserError(f"No way to {target}: {' '.join(complaint.split()) or line}")
    return int(found[1])
