"""A constant load on the Service from inside the cluster, and its result."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import yaml

from fivestage.deployment.kubectl import Cluster, Manifest
from tools.chaos.seen import Seen, count

PER_SECOND = 20
CLIENT, POSTGRES = "load", 5432
SETTLE_SECONDS = 5  # of load before and after the fault
LOG_SECONDS = 90  # deadline for predictions that were spooled to disk to reach the log
HERE = Path(__file__).resolve().parent


@contextmanager
def under_load(cluster: Cluster, seen: Seen, rows: Sequence[Any]) -> Iterator[None]:
    """Put a load on the Service during the block, and record its result."""
    cluster.delete("pod", CLIENT, wait=True)
    cluster.apply(_client(cluster, rows))
    try:
        cluster.run("wait", "--for=condition=Ready", f"pod/{CLIENT}", "--timeout=120s", timeout=130)
        time.sleep(SETTLE_SECONDS)
        started = time.monotonic()
        yield
        seen.seconds = time.monotonic() - started
        time.sleep(SETTLE_SECONDS)
        cluster.run("exec", CLIENT, "--", "touch", "/tmp/stop")  # noqa: S108 (in its own container)
        ended = ("--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
        cluster.run("wait", f"pod/{CLIENT}", *ended, timeout=70)
        lines = [json.loads(line) for line in cluster.run("logs", CLIENT, timeout=120).splitlines()]
        count(seen, lines)
        seen.missing = missing(cluster, [line["id"] for line in lines if line["id"]])
    finally:
        cluster.delete("pod", CLIENT)


def missing(cluster: Cluster, names: Sequence[str]) -> int:
    """Return the number of predictions that do not reach the log in time."""
    command = ("--container=serving", "--", "printenv", "SERVE_DATABASE")
    parts = urlsplit(cluster.run("exec", "deployment/fivestage", *command).strip())
    deadline = time.monotonic() + LOG_SECONDS
    with cluster.forward("service/postgres", POSTGRES) as port:
        address = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
        with closing(psycopg.connect(address, autocommit=True)) as log:
            while True:
                query = "SELECT count(DISTINCT request_id) FROM answers WHERE request_id = ANY(%s)"
                (found,) = log.execute(query, [list(names)]).fetchall()[0]
                if found == len(names) or time.monotonic() > deadline:
                    return len(names) - int(found)
                time.sleep(1)


def _client(cluster: Cluster, rows: Sequence[Any]) -> list[Manifest]:
    """Return the manifests of the client's pod, its program and its rows."""
    about = {"namespace": cluster.namespace, "labels": {"app.kubernetes.io/name": CLIENT}}
    files = {"client.py": (HERE / "client.py").read_text(encoding="utf-8"), "rows.json": json.dumps(rows)}
    pod = yaml.safe_load((HERE / "client.yaml").read_text(encoding="utf-8"))
    pod["metadata"] = about | {"name": CLIENT}
    pod["spec"]["containers"][0]["args"] = ["fivestage", str(PER_SECOND)]
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about | {"name": CLIENT}, "data": files}
    return [settings, pod]
