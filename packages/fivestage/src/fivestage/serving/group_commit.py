"""Answers on their way to the database: written in groups, and kept on disk while it is away."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
from itertools import islice
from pathlib import Path

from fivestage.serving.sqlite import SqliteStore
from fivestage.serving.store import PredictionRecord, Store

PAGE = 500  # answers that go from the spool to the database at once
logger = logging.getLogger("serving")


class Spool:
    """A file of answers that all processes of a folder share; any of them moves what waits there on."""

    def __init__(self, path: Path) -> None:
        self.waiting = 0  # answers in the file, as far as this process knows
        self._path = path
        self._lock = threading.Lock()

    @cached_property
    def _file(self) -> SqliteStore:
        return SqliteStore(self._path)

    def add(self, answers: Sequence[PredictionRecord]) -> None:
        """Take all answers, or none when the disk does not take them; they outlive the process."""
        with self._lock:
            self._file.write_answers(answers)
            self.waiting += len(answers)

    def count(self) -> int:
        """How many answers wait, those of other processes and of earlier ones included."""
        with self._lock:
            if self._path.exists():
                self.waiting = self._file.count_answers()
            return self.waiting

    def drain(self, store: Store) -> None:
        """Move all that waits into the database, in its order."""
        with closing(SqliteStore(self._path)) as spooled:
            while page := list(islice(spooled.answers(), PAGE)):
                store.write_answers([answer for _, answer in page])
                spooled.delete_answers(up_to=page[-1][0])
        self.count()

    def close(self) -> None:
        """Leave what waits to the next process."""
        if self._path.exists():
            self._file.close()


class GroupCommit:
    """Takes answers one by one and writes them in groups: to the database, or to the spool while it is away.

    A local database is written from the event loop, once a turn: a thread would cost more than the write. A
    remote one is written from a thread, and what comes meanwhile is the next group.
    """

    def __init__(self, store: Store, spool: Spool | None) -> None:
        self.error = ""  # why the last answers were not logged
        self._store, self._spool = store, spool
        self._records: list[PredictionRecord] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._writing: asyncio.Task[None] | None = None

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()  # a system call, which is worth keeping

    def add(self, record: PredictionRecord) -> asyncio.Future[None]:
        """Take an answer; the future is done when a killed process would not lose it any more."""
        loop = self._loop
        if not self._waiting:
            if not self._store.remote:
                loop.call_soon(self._write_group)  # a task would cost as much as the write
            elif self._writing is None:
                self._writing = loop.create_task(self._write_groups())
        written: asyncio.Future[None] = loop.create_future()
        self._records.append(record)
        self._waiting.append(written)
        return written

    async def finish(self) -> None:
        """Return when all is written."""
        if self._writing is not None:
            await self._writing

    def _write_group(self) -> None:
        records, waiting = self._take()
        _settle(waiting, self._write(records))

    async def _write_groups(self) -> None:
        while self._waiting:
            records, waiting = self._take()
            _settle(waiting, await asyncio.to_thread(self._write, records))
        self._writing = None

    def _take(self) -> tuple[list[PredictionRecord], list[asyncio.Future[None]]]:
        records, waiting = self._records, self._waiting
        self._records, self._waiting = [], []
        return records, waiting

    def _write(self, records: list[PredictionRecord]) -> Exception | None:
        """To the database; to the spool where others wait there already, or when the database fails."""
        takers = [] if self._spool is not None and self._spool.waiting else [self._store.write_answers]
        if self._spool is not None:
            takers.append(self._spool.add)
        failed: Exception | None = None
        for take in takers:
            try:
                take(records)
            except Exception as error:  # noqa: BLE001 (whatever it is, the answers must go somewhere)
                failed = error
                if not self.error:  # else it has been said
                    logger.warning("answers cannot be written: %s", error)
            else:
                self.error = ""
                return None
        self.error = str(failed).rstrip(".")
        return failed


def _settle(waiting: list[asyncio.Future[None]], failed: Exception | None) -> None:
    for written in waiting:
        if written.done():  # its request was cancelled
            continue
        if failed is None:
            written.set_result(None)
        else:
            written.set_exception(failed)
