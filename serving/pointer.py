"""The file that names the version to serve, replaced in one step."""

import os
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import UserError


class Pointer(BaseModel):
    """A version, the folder of its artifact, and the digest that the artifact must have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    folder: Path
    digest: str


def read_pointer(path: Path) -> Pointer:
    """What to serve.

    Raises:
        UserError: when there is no such file, or it is something else.
    """
    try:
        return Pointer.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"{path} does not exist: no model has been deployed here. Deploy one first."
        ) from error
    except (OSError, ValidationError) as error:
        raise UserError(f"{path} does not name a model ({error}). Deploy one again.") from error


def write_pointer(path: Path, pointer: Pointer) -> None:
    """Serve this version from now on.

    Raises:
        UserError: when the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(file, "w", encoding="utf-8") as text:
            text.write(pointer.model_dump_json(indent=1))
        Path(scratch).replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}. Make its folder writable.") from error
