"""The file that names the version to serve, replaced in one step."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from fivestage.artifact.artifact import artifact_digest
from fivestage.common.errors import UserError
from fivestage.common.files import write_text
from fivestage.serving.service_settings import PREFIX, Settings


class ServedVersion(BaseModel):
    """A version, the folder of its artifact, and the digest that the artifact must have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    folder: Path
    digest: str


def read_served_version(path: Path) -> ServedVersion:
    """What to serve.

    Raises:
        UserError: when there is no such file, or it is something else.
    """
    try:
        return ServedVersion.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"{path} does not exist: no model has been deployed here. Deploy one first."
        ) from error
    except (OSError, ValidationError) as error:
        raise UserError(f"{path} does not name a model ({error}). Deploy one again.") from error


def configured_version(settings: Settings) -> ServedVersion:
    """What a service is to serve: what its folder points to, else the model that it was given."""
    if settings.current_file.exists() or not settings.model:
        return read_served_version(settings.current_file)
    folder = Path(settings.model)
    try:
        digest = settings.model_digest or artifact_digest(folder)
    except OSError as error:
        raise UserError(f"{PREFIX}MODEL: {folder} holds no artifact ({error.strerror}).") from error
    return ServedVersion(version=settings.model_version or digest[:12], folder=folder, digest=digest)


def write_served_version(path: Path, named: ServedVersion) -> None:
    """Serve this version from now on.

    Raises:
        UserError: when the file cannot be written.
    """
    text = named.model_dump_json(indent=1)
    write_text(path, text)
