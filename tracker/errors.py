"""What a user did that cannot work, said in one sentence: what, where, what to do."""

import re

# Also of a URL that has been through a path, which makes one slash of two.
CREDENTIALS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:/{1,2})[^/?#\s]*@")


class UserError(Exception):
    """Shown as one line without a traceback; the command exits with 2."""


class StorageError(UserError):
    """What should be on disk cannot be written now: it is full, or broken. Later it may go."""


def mask_url(text: str) -> str:
    """The text with the credentials of every URL in it replaced, for messages and logs."""
    return CREDENTIALS.sub(r"\1***@", text)
