"""A client in a pod: sends requests at a constant rate until it is stopped, and prints a line for each try.

Every other request uses a new connection, the others use connections that are kept alive. Failed requests are
retried after a pause. It runs in the image of the service.
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
PATIENCE = 10.0  # timeout of a request, seconds
KEPT = 6  # connections that are kept alive
PAUSES = (0.0, 0.5, 1.0, 2.0)  # seconds before each try
AT_ONCE = 100  # concurrent requests, so that slow ones do not lower the rate


def ask(connection: HTTPConnection, row: object) -> tuple[str, str]:
    """Send a request; return its id in the log, or the reason of its failure."""
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
    """Send a request on a kept connection, reopened if the server has closed it."""
    connection = kept.get()
    try:
        if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
            connection.close()
        return ask(connection, row)
    finally:
        kept.put(connection)


def request(address: str, kept: "queue.Queue[HTTPConnection]", number: int, row: object) -> None:
    """Send a request, with retries."""
    started = time.time()
    for attempt, pause in enumerate(PAUSES):
        time.sleep(pause)
        if number % 2 and attempt == 0:
            name, failed = ask_on_kept(kept, row)
        else:
            with closing(HTTPConnection(address, timeout=PATIENCE)) as new_connection:
                name, failed = ask(new_connection, row)
        attempt_line = {
            "try": attempt,
            "last": attempt == len(PAUSES) - 1,
            "id": name,
            "failed": failed,
            "kept": bool(number % 2),
        }
        print(
            json.dumps({"at": started, "seconds": time.time() - started} | attempt_line) + "\n",
            end="",
            flush=True,
        )
        if name:
            return


def load(address: str, per_second: float, rows: Iterable[object]) -> None:
    """Send requests at a constant rate, independent of responses, until the stop file exists."""
    kept: queue.Queue[HTTPConnection] = queue.Queue()
    for _ in range(KEPT):
        kept.put(HTTPConnection(address, timeout=PATIENCE))
    started = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number, row in enumerate(itertools.cycle(rows)):
            pool.submit(request, address, kept, number, row)
            time.sleep(max(0.0, started + (number + 1) / per_second - time.monotonic()))
            if STOP.exists():
                return


if __name__ == "__main__":
    load(sys.argv[1], float(sys.argv[2]), json.loads((HERE / "rows.json").read_text(encoding="utf-8")))
