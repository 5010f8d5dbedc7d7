"""The one exception that is meant for a person."""


class UserError(Exception):
    """A sentence for the user: what is wrong, where, and how to mend it."""
