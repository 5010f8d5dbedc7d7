"""Databases by URL, whose passwords stay out of messages and records."""

import os.path

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from fivestage.common.errors import UserError

DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}  # the one that is installed


def connect(url: str) -> Engine:
    """Connect; a password may be the name of an environment variable."""
    found = make_url(url)
    found = found.set(drivername=DRIVERS.get(found.drivername, found.drivername))
    if found.password:
        found = found.set(password=os.path.expandvars(found.password))
    return create_engine(found)


def named(place: str) -> str:
    """A file or table for messages, without the password of its database."""
    if "://" not in place:
        return place
    url, separator, table = place.partition("#")
    try:
        return f"{make_url(url).render_as_string(hide_password=True)}{separator}{table}"
    except (ValueError, SQLAlchemyError):
        return "the database"


def require_no_secret(place: str) -> None:
    """Make sure that a place can be written down.

    Args:
        place: a file, or a database's URL, which may end in `#` and a table's name.

    Raises:
        UserError: when it names a password instead of a variable that holds it.
    """
    if "://" not in place:
        return
    try:
        password = make_url(place.partition("#")[0]).password
    except (ValueError, SQLAlchemyError):
        return  # reading it will tell what is wrong
    if password is not None and os.path.expandvars(str(password)) == str(password):
        raise UserError(
            f"{named(place)}: the password would be kept with the run. "
            "Put it into an environment variable, and write $NAME for it (in the shell, within '')."
        )
