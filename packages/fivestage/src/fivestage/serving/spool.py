"""Answers that wait on disk while the database is away, and go there in their order when it is back."""

import fcntl
import os
import threading
from pathlib import Path
from typing import BinaryIO

import msgspec

from fivestage.serving.store import PredictionRecord, Store

_PAGE = 500


class Spool:
    """A process's file in a folder that processes share; when it has ended, another drains it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.waiting = 0  # answers in the file
        self._folder, self._path = folder, folder / f"{name}.jsonl"
        self._file: int | None = None
        self._lock = threading.Lock()
        self._encode = msgspec.json.Encoder().encode

    def add(self, answers: list[PredictionRecord]) -> None:
        """Append answers; they outlive the process.

        Raises:
            OSError: when the disk does not take them, and then it holds none of them.
        """
        lines = b"".join([self._encode(answer) + b"\n" for answer in answers])
        with self._lock:
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                fcntl.flock(self._file, fcntl.LOCK_EX)  # as long as we live
            size = os.fstat(self._file).st_size
            written = os.write(self._file, lines)
            if written != len(lines):
                os.ftruncate(self._file, size)
                raise OSError(f"{self._path} took {written} of {len(lines)} bytes")
            self.waiting += len(answers)

    def drain(self, store: Store) -> None:
        """Move all that waits here, ours and that of processes that have ended, into the database."""
        if self.waiting:
            with self._path.open("rb") as file:
                while not self._emptied(file):
                    _replay(file, store)
        for path in sorted(self._folder.glob("*.jsonl")):
            if path == self._path:
                continue
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue  # its process lives
                _replay(file, store)
                path.unlink(missing_ok=True)

    def orphans(self) -> bool:
        """Whether others' answers wait here."""
        return any(path != self._path for path in self._folder.glob("*.jsonl"))

    def close(self) -> None:
        """Leave what waits to the next process."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _emptied(self, file: BinaryIO) -> bool:
        with self._lock:
            if file.tell() < self._path.stat().st_size:
                return False
            self._path.unlink(missing_ok=True)
            self.close()
            self.waiting = 0
            return True


def _replay(file: BinaryIO, store: Store) -> None:
    decode = msgspec.json.Decoder(PredictionRecord).decode
    while True:
        answers: list[PredictionRecord] = []
        while len(answers) < _PAGE:
            start = file.tell()
            line = file.readline()
            if not line.endswith(b"\n"):  # the end, or a line cut short by a kill: its answer never left
                file.seek(start)
                break
            answers.append(decode(line))
        if not answers:
            return
        store.write_answers(answers)
