"""The one exception that a user sees as a single line."""


class UserError(Exception):
    """A mistake in what the user gave. The message names the file, the key or tensor, what was
    found and how to fix it.
    """
