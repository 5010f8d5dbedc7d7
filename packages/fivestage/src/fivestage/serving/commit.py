"""Group commit: answers that are ready together share the price of being written."""

import asyncio
import logging
from collections.abc import Callable

from fivestage.serving.spool import Spool
from fivestage.serving.store import PredictionRecord, Store

logger = logging.getLogger("serving")
Then = Callable[[Exception | None], None]  # hears that all is well, or what failed


class GroupCommit:
    """Takes answers one by one and writes them in groups: to the database, or to the spool while it is away.

    A local database is written from the event loop, once a turn: a thread would cost more than the write. A
    remote one is written from a thread, and what comes meanwhile is the next group.
    """

    def __init__(self, store: Store, spool: Spool | None) -> None:
        self.trouble = ""  # why the last answers were not logged
        self._store, self._spool = store, spool
        self._answers: list[PredictionRecord] = []
        self._waiting: list[Then] = []
        self._writing: asyncio.Task[None] | None = None

    def add(self, answer: PredictionRecord, then: Then) -> None:
        """Take an answer; `then` hears when a killed process would not lose it any more."""
        if not self._waiting:
            loop = asyncio.get_running_loop()
            if not self._store.remote:
                loop.call_soon(self._turn)
            elif self._writing is None:
                self._writing = loop.create_task(self._write_remotely())
        self._answers.append(answer)
        self._waiting.append(then)

    async def finish(self) -> None:
        """Return when all is written."""
        if self._writing is not None:
            await self._writing

    def _turn(self) -> None:
        answers, waiting = self._take()
        _settle(waiting, self._write(answers))

    async def _write_remotely(self) -> None:
        while self._waiting:
            answers, waiting = self._take()
            _settle(waiting, await asyncio.to_thread(self._write, answers))
        self._writing = None

    def _take(self) -> tuple[list[PredictionRecord], list[Then]]:
        answers, waiting = self._answers, self._waiting
        self._answers, self._waiting = [], []
        return answers, waiting

    def _write(self, answers: list[PredictionRecord]) -> Exception | None:
        """To the database; to the spool where others wait there already, or when the database fails."""
        spool = self._spool
        takers: list[tuple[str, Callable[[list[PredictionRecord]], None]]] = []
        if spool is None or not spool.waiting:
            takers.append(("the database", self._store.write_answers))
        if spool is not None:
            takers.append(("the spool", spool.add))
        failed: Exception | None = None
        for name, take in takers:
            try:
                take(answers)
            except Exception as error:  # noqa: BLE001 (whatever it is, the answers must go somewhere)
                failed = error
                if not self.trouble:  # else it has been said
                    logger.warning("%s takes no answers: %s", name, error)
            else:
                self.trouble = ""
                return None
        self.trouble = str(failed)
        return failed


def _settle(waiting: list[Then], failed: Exception | None) -> None:
    for then in waiting:
        try:
            then(failed)
        except Exception:  # one request's trouble is not the others'
            logger.exception("an answer could not be sent")
