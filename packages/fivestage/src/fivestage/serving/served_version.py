"""The file that names the version to serve; it is replaced atomically."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from fivestage.artifact.artifact import artifact_digest
from fivestage.common.errors import UserError
from fivestage.common.files import write_text
from fivestage.serving.service_settings import PREFIX, Settings


class ServedVersion(BaseModel):
    """A version, the folder of its artifact, and the expected digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    folder: Path
    digest: str

    @classmethod
    def of(cls, version: str, folder: Path) -> "ServedVersion":
        """Name a version by the folder of its artifact."""
        return cls(version=version, folder=folder.resolve(), digest=artifact_digest(folder))


def read_served_version(path: Path) -> ServedVersion:
    """Read the file that names the version to serve.

    Raises:
        UserError: If the file does not exist or is malformed.
    """
    try:
        return ServedVersion.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"{path} does not exist: no model has been deployed here. Deploy one first."
        ) from error
    except (OSError, ValidationError) as error:
        raise UserError(f"{path} is malformed ({error}). Deploy a model again.") from error


def configured_version(settings: Settings) -> ServedVersion:
    """Return the version to serve: the one that the folder's file names, else the one in the settings."""
    if settings.current_file.exists() or not settings.model:
        return read_served_version(settings.current_file)
    folder = Path(settings.model)
    try:
        digest = settings.model_digest or artifact_digest(folder)
    except OSError as error:
        raise UserError(f"{PREFIX}MODEL: the folder {folder} has no artifact ({error.strerror}).") from error
    return ServedVersion(version=settings.model_version or digest[:12], folder=folder, digest=digest)


def write_served_version(path: Path, named: ServedVersion) -> None:
    """Name the version to serve from now on.

    Raises:
        UserError: If the file cannot be written.
    """
    write_text(path, named.model_dump_json(indent=1))


def shadow(settings: Settings, version: str, folder: Path) -> None:
    """Let a version predict the requests in shadow; a running service loads it by itself."""
    write_served_version(settings.shadow_file, ServedVersion.of(version, folder))
