"""Files that are whole or not there."""

from pathlib import Path

from core.errors import UserError


def write_whole(path: Path, content: bytes) -> Path:
    """Write beside the path, then take its name: a reader never sees half a file.

    Raises:
        UserError: if the folder cannot be written.
    """
    scratch = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            scratch.write_bytes(content)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}. Mend that and run again.") from error
    return path
