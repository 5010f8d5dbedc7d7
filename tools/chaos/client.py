"""A client beside the service, in a pod: requests at a constant rate until told to stop, each told as a line.

Every other request comes on a connection of its own, the rest on connections that are kept. What fails is
asked again after a while, as clients do; every try is told. It runs in the image of the service.
"""

import itertools
import json
import os
import queue
import select
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import OK, HTTPConnection, HTTPException
from pathlib import Path

HERE = Path(__file__).resolve().parent
STOP = Path(os.environ.get("STOP", "/tmp/stop"))  # noqa: S108 (in its own container)
PATIENCE = 10.0  # seconds for an answer
KEPT = 6  # connections
PAUSES = (0.0, 0.5, 1.0, 2.0)  # seconds before each try
AT_ONCE = 100  # requests: what is not answered holds up nothing


def ask(connection: HTTPConnection, row: object) -> tuple[str, str]:
    """The request's name in the log, or what went wrong."""
    try:
        body = json.dumps(row)
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, HTTPException) as error:
        connection.close()
        return "", type(error).__name__
    return ("", str(answer.status)) if answer.status != OK else (json.loads(text)["request_id"], "")


def ask_on_kept(kept: "queue.Queue[HTTPConnection]", row: object) -> tuple[str, str]:
    """The same, on a connection that the server has not closed meanwhile."""
    connection = kept.get()
    try:
        if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
            connection.close()
        return ask(connection, row)
    finally:
        kept.put(connection)


def request(address: str, kept: "queue.Queue[HTTPConnection]", number: int, row: object) -> None:
    """Ask, and again if that fails."""
    begun = time.time()
    for attempt, pause in enumerate(PAUSES):
        time.sleep(pause)
        if number % 2 and attempt == 0:
            name, failed = ask_on_kept(kept, row)
        else:
            with closing(HTTPConnection(address, timeout=PATIENCE)) as fresh:
                name, failed = ask(fresh, row)
        told = {
            "try": attempt,
            "last": attempt == len(PAUSES) - 1,
            "id": name,
            "failed": failed,
            "kept": bool(number % 2),
        }
        print(json.dumps({"at": begun, "seconds": time.time() - begun} | told) + "\n", end="", flush=True)
        if name:
            return


def load(address: str, per_second: float, rows: Iterable[object]) -> None:
    """Ask at a rate, whether answers come or not, until the file is there that says stop."""
    kept: queue.Queue[HTTPConnection] = queue.Queue()
    for _ in range(KEPT):
        kept.put(HTTPConnection(address, timeout=PATIENCE))
    begun = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number, row in enumerate(itertools.cycle(rows)):
            pool.submit(request, address, kept, number, row)
            time.sleep(max(0.0, begun + (number + 1) / per_second - time.monotonic()))
            if STOP.exists():
                return


if __name__ == "__main__":
    load(sys.argv[1], float(sys.argv[2]), json.loads((HERE / "rows.json").read_text(encoding="utf-8")))
