"""Files that are whole or not there."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fivestage.common.errors import UserError


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a file beside the path, then give it the path's name: a reader never sees half of it.

    Args:
        path: the file to make or replace; its folder is made too.
        write: is called with the path of an empty file, which it fills.

    Returns:
        The path.

    Raises:
        UserError: when the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        scratch = Path(name)
        try:
            write(scratch)
            scratch.chmod(0o644)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror}. Make its folder writable or name another."
        ) from error
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a text in UTF-8; see `write_whole`.

    Args:
        path: the file to make or replace; its folder is made too.
        text: all that it is to hold.

    Returns:
        The path.

    Raises:
        UserError: when the folder cannot be written.
    """
    return write_whole(path, lambda scratch: scratch.write_text(text, encoding="utf-8"))


def checksum_of(path: Path) -> str:
    """SHA-256 of a file: 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_files(root: Path, files: Iterable[Path]) -> str:
    """SHA-256 of files and of their names below a folder.

    Args:
        root: the folder that names are relative to.
        files: files in it, in any order.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: when a file is not below the folder.
    """
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def write_between(page: Path, marks: str, text: str) -> None:
    """Put text between the marks of a page, in place of what is there.

    Raises:
        UserError: when the page has no such place, or cannot be written.
    """
    whole = put_between(page.read_text(encoding="utf-8"), marks, text, str(page))
    write_text(page, whole)


def put_between(page: str, marks: str, text: str, name: str) -> str:
    """The text of a page with another part between the comments `marks: begin` and `marks: end`."""
    begin, end = f"<!-- {marks}: begin -->", f"<!-- {marks}: end -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise UserError(f"{name} has no place for this: it needs the lines {begin} and {end}.")
    return f"{before}{begin}\n{text}\n{end}{after}"


@contextmanager
def one_at_a_time(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file; it is let go with the process, however that ends.

    Args:
        path: the lock file; it is made, with its folder, if it does not exist.
        what: what the lock is for, as the message names it.

    Yields:
        None, while the lock is held.

    Raises:
        UserError: when another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another process is at {what}: let it end, then run this again.") from None
        yield
