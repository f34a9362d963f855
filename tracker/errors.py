"""What a user did that cannot work, said in one sentence: what, where, what to do."""


class UserError(Exception):
    """Shown as one line without a traceback; the command exits with 2."""
