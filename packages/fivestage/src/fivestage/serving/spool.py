"""Answers that wait on disk while the database is away, and go there in their order when it is back."""

import threading
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

from fivestage.serving.sqlite import SqliteStore
from fivestage.serving.store import PredictionRecord, Store

_PAGE = 500


class Spool:
    """A file of answers that all processes of a folder share; any of them moves what waits there on."""

    def __init__(self, path: Path) -> None:
        self.waiting = 0  # answers in the file, as far as this process knows
        self._path = path
        self._store: SqliteStore | None = None
        self._lock = threading.Lock()

    def add(self, answers: Sequence[PredictionRecord]) -> None:
        """Take answers; they outlive the process."""
        with self._lock:
            self._opened().write_answers(answers)
            self.waiting += len(answers)

    def count(self) -> int:
        """How many answers wait, those of other processes and of earlier ones included."""
        with self._lock:
            if self._path.exists():
                self.waiting = self._opened().count_answers()
            return self.waiting

    def drain(self, store: Store) -> None:
        """Move all that waits into the database."""
        with closing(SqliteStore(self._path)) as spooled:
            while self.count():
                page = list(islice(spooled.answers(), _PAGE))
                store.write_answers([answer for _, answer in page])
                spooled.delete_answers(up_to=page[-1][0])

    def close(self) -> None:
        """Leave what waits to the next process."""
        if self._store is not None:
            self._store.close()

    def _opened(self) -> SqliteStore:
        if self._store is None:
            self._store = SqliteStore(self._path)
        return self._store
