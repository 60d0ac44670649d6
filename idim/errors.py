"""The root of everything we raise on purpose, and the exit codes of the command line."""

DONE, DEFECT, MISTAKE, NOT_REACHED = 0, 1, 2, 3


class IdimError(Exception):
    """Something the user can mend: the message says what was expected and what came. Exit code 2."""


def expected(name: str, what: str, came: object) -> IdimError:
    """The one form of our messages."""
    return IdimError(f"{name}: expected {what}; got {came!r}")


def one_of(name: str, known, came: object) -> IdimError:
    return expected(name, "one of " + ", ".join(map(str, known)), came)
