"""Database connections by URL; passwords stay out of messages and saved records."""

import os.path

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from fivestage.common.errors import UserError

DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}  # the installed driver


def connect(url: str) -> Engine:
    """Create an engine; the password may be an environment variable, written as $NAME."""
    parsed = make_url(url)
    parsed = parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))
    if parsed.password:
        parsed = parsed.set(password=os.path.expandvars(parsed.password))
    return create_engine(parsed)


def redacted(source: str) -> str:
    """Hide the password in a database URL, for messages; a file path stays as it is."""
    if "://" not in source:
        return source
    url, separator, table = source.partition("#")
    try:
        return f"{make_url(url).render_as_string(hide_password=True)}{separator}{table}"
    except (ValueError, SQLAlchemyError):
        return "the database"


def unanswered(url: str, error: Exception) -> UserError:
    """Return the error for a registry that does not answer."""
    return UserError(
        f"The registry at {redacted(url)} does not answer: {error} Check MLFLOW_TRACKING_URI, and that the "
        "server runs."
    )


def require_no_secret(source: str) -> None:
    """Refuse a URL that contains a password, because URLs are saved with the run.

    Args:
        source: a file, or a database URL, optionally followed by `#` and a table's name.

    Raises:
        UserError: when the URL contains the password itself and not a variable that holds it.
    """
    if "://" not in source:
        return
    try:
        password = make_url(source.partition("#")[0]).password
    except (ValueError, SQLAlchemyError):
        return  # reading from it will report what is wrong
    if password is not None and os.path.expandvars(str(password)) == str(password):
        raise UserError(
            f"{redacted(source)}: the password would be saved with the run. "
            "Put it into an environment variable and write $NAME in its place (in the shell, within '')."
        )
