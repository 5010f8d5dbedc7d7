"""The kubectl commands that a release needs; failures raise a UserError with a readable message.

lightkube 1.0 and the official client cannot replace kubectl: neither renders a kustomize overlay, undoes a
rollout or reports the server's admission warnings.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fivestage.common.errors import UserError
from fivestage.common.programs import run_program

Manifest = dict[str, Any]
_LOG_LINE = re.compile(r"[IWEF]\d{4} \d\d:.*")
_NO_CLUSTER = "connection to the server localhost:8080 was refused"  # kubectl's default without a kubeconfig
_FORWARDED = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Cluster:
    """A namespace of a cluster."""

    namespace: str  # where objects are read and created
    context: str = ""  # context of the kubeconfig file; the current one if empty

    def run(self, *arguments: str, stdin: str = "", timeout: float = 60) -> str:
        """Run kubectl and return what it prints; raise a `UserError` that quotes it if it fails."""
        return self._run(*arguments, stdin=stdin, timeout=timeout).stdout

    def render(self, overlay: Path) -> list[Manifest]:
        """Return the manifests of a kustomize overlay."""
        rendered = self.run("kustomize", str(overlay))
        return [manifest for manifest in yaml.safe_load_all(rendered) if manifest]

    def apply(self, manifests: Sequence[Manifest], *, dry_run: bool = False) -> list[str]:
        """Apply manifests server-side, taking over fields that other managers have set.

        This uses kubectl's default field manager and keeps the annotation that a plain `kubectl apply` reads,
        so that the two can be mixed without warnings. Return the server's warnings, one line each.
        """
        if not manifests:
            return []
        text, options = yaml.safe_dump_all(manifests), ["--server-side", "--force-conflicts"]
        if dry_run:
            options.append("--dry-run=server")
        applied = self._run("apply", *options, "-f", "-", stdin=text, timeout=180)
        if not dry_run:
            self.run("apply", "set-last-applied", "--create-annotation", "-f", "-", stdin=text, timeout=180)
        return [line for line in applied.stderr.splitlines() if line.startswith("Warning:")]

    def get(self, kind: str, name: str) -> Manifest | None:
        """Return an object, or None if there is no such object."""
        found = self.run("get", kind, name, "--ignore-not-found", "--output=json")
        return json.loads(found) if found.strip() else None

    def find(self, kind: str, labels: Mapping[str, str]) -> list[Manifest]:
        """Return the objects of a kind that have these labels."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        found = self.run("get", kind, f"--selector={selector}", "--output=json")
        items: list[Manifest] = json.loads(found)["items"]
        return items

    def create(self, manifest: Manifest) -> None:
        """Create an object; raise a UserError if it already exists."""
        self.run("create", "-f", "-", stdin=yaml.safe_dump(manifest))

    def replace(self, manifest: Manifest) -> None:
        """Replace an object, even one too large for `apply`; raise a UserError if it does not exist."""
        self.run("replace", "-f", "-", stdin=yaml.safe_dump(manifest))

    def delete(self, kind: str, name: str, *, wait: bool = False) -> None:
        """Delete an object, if there is one."""
        self.run("delete", kind, name, "--ignore-not-found", f"--wait={str(wait).lower()}", timeout=120)

    @contextmanager
    def forward(self, target: str, port: int) -> Iterator[int]:
        """Forward a free local port to a port of `pod/NAME` or `service/NAME`, and yield the local one."""
        command = ["kubectl", *self._arguments("port-forward", "--address=127.0.0.1", target, f":{port}")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 (our own arguments)
            try:
                line = process.stdout.readline() if process.stdout else ""
                if not (forwarded := _FORWARDED.match(line)):
                    process.kill()
                    message = process.stderr.read() if process.stderr else ""
                    raise UserError(f"{target} cannot be reached: {' '.join(message.split()) or line}")
                yield int(forwarded[1])
            finally:
                process.terminate()

    def _arguments(self, *arguments: str) -> list[str]:
        context = [f"--context={self.context}"] if self.context else []
        return [*context, f"--namespace={self.namespace}", *arguments]

    def _run(self, *arguments: str, stdin: str, timeout: float) -> "subprocess.CompletedProcess[str]":
        try:
            return run_program("kubectl", *self._arguments(*arguments), stdin=stdin, timeout=timeout)
        except UserError as error:
            raise UserError(_without_log_lines(str(error))) from error


def _without_log_lines(error: str) -> str:
    """Return kubectl's error in one line, without its log lines."""
    message = " ".join(_LOG_LINE.sub("", error).split())
    return f"{message} KUBECONFIG names no running cluster." if _NO_CLUSTER in message else message
