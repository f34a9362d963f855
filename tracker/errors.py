"""What a user did that cannot work, said in one sentence: what, where, what to do."""

import re

# User and password of an address: all before its last '@', also where they hold a '/' that should have been written
# as %2F. One slash: of a URL that has been through a path. After a colon may come a port or a password of digits: an
# '@' later on decides.
CREDENTIALS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:/{1,2})(?:[^/?#\s:@]*:\S*|[^/?#\s]*)@")
# What cameras take in their address: in its query, or in its path as in /user=ada_password=x_channel=1. There a
# value ends where the next name begins; an '_' of its own does not end it.
_PARAMETERS = re.compile(
    r"([?&/_;][\w.-]*(?:user|usr|login|pass|pwd|token|auth|key|secret|sig)[\w.-]*=)"
    r"(?:(?![_;][a-z0-9-]+=[^=&#\s'\"])[^&#\s'\"])+",
    re.IGNORECASE,
)
# A password as it stands, and not ${TAKEN_FROM} the environment.
_PASSWORD = re.compile(
    r"://[^/?#\s:@]*:(?!\$\{)\S*@|[?&/_;][\w.-]*(?:pass|pwd|token|secret)[\w.-]*=(?!\$\{)[^&\s]",
    re.IGNORECASE,
)


class UserError(Exception):
    """Shown as one line without a traceback; the command exits with 2."""


class StorageError(UserError):
    """What should be on disk cannot be written now: it is full, or broken. Later it may go."""


def mask_url(text: str) -> str:
    """The text with the credentials of every URL in it replaced, for messages and logs."""
    return _PARAMETERS.sub(r"\1***", CREDENTIALS.sub(r"\1***@", text))


def holds_password(url: str) -> bool:
    """Whether a password stands in an address, in so many words."""
    return _PASSWORD.search(url) is not None
