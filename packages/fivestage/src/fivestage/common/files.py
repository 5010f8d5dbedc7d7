"""Atomic file writes, checksums, generated parts of pages, and lock files."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fivestage.common.errors import UserError


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file atomically: fill a temporary file in the same folder, then rename it.

    Args:
        path: the file to create or replace; its folder is created if needed.
        write: called with the path of an empty temporary file, which it fills.

    Returns:
        The path.

    Raises:
        UserError: when the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror}. Make its folder writable or choose another."
        ) from error
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a UTF-8 text file atomically.

    Args:
        path: the file to create or replace; its folder is created if needed.
        text: the whole content.

    Returns:
        The path.

    Raises:
        UserError: when the file cannot be written.
    """
    return write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def checksum_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_files(root: Path, files: Iterable[Path]) -> str:
    """SHA-256 over several files: their contents and their paths relative to a folder.

    Args:
        root: the folder that paths are relative to.
        files: files inside it, in any order.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: when a file is outside the folder.
    """
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def write_between(page: Path, marks: str, text: str) -> None:
    """Replace the text between two marker comments in a page; see `put_between`.

    Raises:
        UserError: when the page lacks the markers, or cannot be written.
    """
    updated = put_between(page.read_text(encoding="utf-8"), marks, text, str(page))
    write_text(page, updated)


def put_between(page: str, marks: str, text: str, name: str) -> str:
    """Replace the part of a page's text between the comments `<marks>: begin` and `<marks>: end`."""
    begin, end = f"<!-- {marks}: begin -->", f"<!-- {marks}: end -->"
    before, opening, rest = page.partition(begin)
    _, closing, after = rest.partition(end)
    if not (opening and closing):
        raise UserError(f"{name} has no place for the generated text: add the lines {begin} and {end}.")
    return f"{before}{begin}\n{text}\n{end}{after}"


@contextmanager
def one_at_a_time(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive lock on a file; the lock is released when the process ends, even if it is killed.

    Args:
        path: the lock file; it is created, with its folder, if it does not exist.
        what: what the lock protects, as the message names it.

    Yields:
        None, while the lock is held.

    Raises:
        UserError: when another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another process is running {what}: wait for it, then try again.") from None
        yield
