"""Several processes on one port: started, started again when they end, and stopped together."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from types import FrameType

from fivestage.common.errors import UserError
from fivestage.serving.settings import PREFIX, Settings

SOON = 5.0  # seconds: a worker that ends sooner has not served
TRIES = 3  # of a worker that ends soon
logger = logging.getLogger("serving")


class Workers:
    """The processes; the kernel spreads connections over them (SO_REUSEPORT), so they share no lock."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # By number: the process and since when, and how often in a row it ended soon.
        self._running: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
        self._soon: dict[int, int] = {}
        self._stopping = False

    def run(self) -> None:
        """Keep them running until told to stop.

        Raises:
            UserError: when one ends again and again as soon as it has started.
        """
        shutil.rmtree(self._settings.counts, ignore_errors=True)
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, self._stop)
        numbers = range(1, self._settings.workers + 1)
        try:
            for number in numbers:
                self._start(number)
            while not self._stopping:
                time.sleep(0.1)
                for number in numbers:
                    self._look_after(number)
        except UserError:
            self._tell(signal.SIGTERM)
            raise
        finally:
            for process, _ in self._running.values():
                process.wait()

    def _start(self, number: int) -> None:
        given = {f"{PREFIX}WORKER": str(number)}
        self._running[number] = (
            subprocess.Popen((sys.executable, "-m", "serving"), env=os.environ | given),
            time.monotonic(),
        )

    def _look_after(self, number: int) -> None:
        process, since = self._running[number]
        if self._stopping or process.poll() is None:
            return
        self._soon[number] = self._soon.get(number, 0) + 1 if time.monotonic() - since < SOON else 0
        if self._soon[number] == TRIES:
            raise UserError(
                f"Worker {number} ended {TRIES} times as soon as it had started: see its log above."
            )
        logger.error("worker %d ended with code %s: starting it again", number, process.returncode)
        self._start(number)

    def _stop(self, sig: int, _: FrameType | None) -> None:
        self._stopping = True
        self._tell(sig)

    def _tell(self, sig: int) -> None:
        for process, _ in self._running.values():
            if process.poll() is None:
                process.send_signal(sig)
