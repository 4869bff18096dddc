"""The one exception that users are meant to read."""

_LONGEST, _END = 4000, 500  # characters


class UserError(Exception):
    """Bad input, stated for the person who gave it.

    The message names the file, field or flag, the value found, what was expected and what to do.
    `rstar_jax.launch` prints it without a traceback and exits with status 2. Of one that is too long to be
    read, as the values in some files are, the beginning and the end stay: what is wrong, and what to do.
    """

    def __init__(self, message: object = "") -> None:
        text = str(message)
        if len(text) > _LONGEST:
            left_out = len(text) - _LONGEST
            text = f"{text[: _LONGEST - _END]} [{left_out:,} characters left out] {text[-_END:]}"
        super().__init__(text)


class Unfit(UserError):
    """A row among many that cannot be used. reason: its kind of fault in a few words, by which such rows are
    counted."""

    def __init__(self, reason: str, message: object) -> None:
        super().__init__(message)
        self.reason = reason
