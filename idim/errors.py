"""The root of everything we raise on purpose, and the exit codes of the command line."""

import re
from collections.abc import Iterable

DONE, DEFECT, MISTAKE, NOT_REACHED = 0, 1, 2, 3
#: How a program ends whose reader went away (`| head`), as the shell counts it: 128 + SIGPIPE.
PIPE_CLOSED = 141
#: The longest value that a message repeats, or list of values; the longest list of what we know;
#: the longest value in a list.
_SHOWN, _KNOWN, _ITEM = 300, 600, 100
#: Control characters, separators of lines, marks of direction, and halves of surrogate pairs
#: (Python reads bytes that are no text as such halves).
_UNSAFE = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)


class IdimError(Exception):
    """A mistake that the user can mend. It says what was expected and what came. Exit code 2."""


class IdimWarning(UserWarning):
    """Something the user should know of, which stops nothing."""


def expected(name: str, what: str, came: object) -> IdimError:
    """The one form of our messages."""
    shown = repr(came)
    if len(shown) > _SHOWN:
        shown = shown[:_SHOWN] + "…"
    return IdimError(f"{name}: expected {what}; got {shown}")


def one_of(name: str, known: Iterable[object], came: object) -> IdimError:
    return expected(name, f"one of {listed(known, room=_KNOWN)}", came)


def listed(values: Iterable[object], most: int | None = None, room: int = _SHOWN) -> str:
    """Values with commas between.

    Of a long list the first values are shown: at most ``most``, in ``room`` characters. It then
    says how many there are in all.
    """
    texts = [text if len(text) <= _ITEM else text[:_ITEM] + "…" for text in map(str, values)]
    fit, length = 0, 0
    for text in texts[:most]:
        length += len(text) + 2
        if length > room + 2:
            break
        fit += 1
    shown = ", ".join(texts[:fit])
    return shown if fit == len(texts) else f"{shown} … ({len(texts):,} in all)"


def first_line(error: BaseException, most: int = 200) -> str:
    """Of what another package's error says; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:most]


def printable(text: str) -> str:
    """Text without control characters: names come from files, and a terminal obeys its escapes.

    Line ends and tabs stay. Marks that turn the direction of writing are shown as escapes too.
    """
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def is_unicode(text: str) -> bool:
    """Whether a string can be written as UTF-8.

    Python turns bytes of a path that are no text into lone surrogates, which no file takes.
    """
    return not any("\ud800" <= c <= "\udfff" for c in text)


def is_out_of_memory(error: BaseException) -> bool:
    """Also torch's on a CPU, which is a plain RuntimeError that only its words tell apart."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, (RuntimeError, OSError)) and any(
        words in str(error) for words in _OUT_OF_MEMORY
    )


_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "Cannot allocate memory",
    "Storage size calculation overflowed",
)
