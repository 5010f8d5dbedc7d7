"""Group commit of predictions to the database; a spool on disk keeps them while it is unreachable."""

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

PAGE = 500  # answers moved from the spool to the database per transaction
logger = logging.getLogger("serving")


class Spool:
    """A file of answers not yet in the database; all processes of a folder share it, and any may drain it."""

    def __init__(self, path: Path) -> None:
        self.waiting = 0  # answers in the file, as far as this process knows
        self._path = path
        self._lock = threading.Lock()

    @cached_property
    def _file(self) -> SqliteStore:
        return SqliteStore(self._path)

    def add(self, answers: Sequence[PredictionRecord]) -> None:
        """Write all answers to disk, or none if that fails; they survive a crash of the process."""
        with self._lock:
            self._file.write_answers(answers)
            self.waiting += len(answers)

    def count(self) -> int:
        """Count the answers in the file, including those of other and earlier processes."""
        with self._lock:
            if self._path.exists():
                self.waiting = self._file.count_answers()
            return self.waiting

    def drain(self, store: Store) -> None:
        """Move all answers into the database, oldest first."""
        with closing(SqliteStore(self._path)) as spooled:
            while page := [answer for _, answer in islice(spooled.answers(), PAGE)]:
                store.write_answers(page)
                spooled.delete_answers(page)
        self.count()

    def close(self) -> None:
        """Close the file; the next process drains what it holds."""
        if self._path.exists():
            self._file.close()


class GroupCommit:
    """Writes answers in groups to the database, or to the spool while the database is unreachable.

    A group has the answers of one iteration of the event loop, or those that arrived during the last write.
    """

    def __init__(self, store: Store, spool: Spool | None) -> None:
        self.error = ""  # why the last answers were not logged
        self._store, self._spool = store, spool
        self._waiting: list[tuple[PredictionRecord, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    def add(self, record: PredictionRecord) -> asyncio.Future[None]:
        """Queue an answer; the future is done once the answer would survive a crash of the process."""
        loop = asyncio.get_running_loop()
        if self._writing is None:
            self._writing = loop.create_task(self._write_groups())
        written: asyncio.Future[None] = loop.create_future()
        self._waiting.append((record, written))
        return written

    async def finish(self) -> None:
        """Wait until all queued answers are written."""
        if self._writing is not None:
            await self._writing

    async def _write_groups(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            failure = await self._store.call(self._write, [record for record, _ in group])
            for _, written in group:
                if written.done():  # its request was cancelled
                    continue
                if failure is None:
                    written.set_result(None)
                else:
                    written.set_exception(failure)
        self._writing = None

    def _write(self, records: list[PredictionRecord]) -> Exception | None:
        """Write to the database, or to the spool if that fails or already holds older answers."""
        writers = [] if self._spool is not None and self._spool.waiting else [self._store.write_answers]
        if self._spool is not None:
            writers.append(self._spool.add)
        failure: Exception | None = None
        for write in writers:
            try:
                write(records)
            except Exception as error:  # noqa: BLE001 (whatever it is, try the next writer)
                failure = error
                if not self.error:  # logged once, not for each group
                    logger.warning("cannot write answers: %s", error)
            else:
                self.error = ""
                return None
        self.error = str(failure).rstrip(".")
        return failure
