"""What reaches the terminal: answers on standard output, remarks on standard error, one line for a mistake, an exit code.

An answer is printed as soon as it is known, in whatever encoding standard output has. A name never reaches the terminal as a
command to it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO

import typer
from typer.core import TyperGroup

from idim.errors import (
    MISTAKE,
    PIPE_CLOSED,
    IdimError,
    IdimWarning,
    first_line,
    is_out_of_memory,
    printable,
)

_INTERRUPTED = 130
#: What stands for our own signs where the encoding lacks them.
_PLAIN = str.maketrans({"×": "x", "—": "-", "–": "-", "…": "...", "±": "+/-"})


def answer(text: str) -> None:
    """Onto standard output, at once. Errors: ``IdimError`` where it takes nothing; BrokenPipeError where its reader went away."""
    try:
        _write(sys.stdout, printable(text))
    except BrokenPipeError:
        silence(sys.stdout)
        raise
    except OSError as error:
        silence(sys.stdout)
        raise IdimError(_no_room(error)) from None


def _no_room(error: OSError) -> str:
    return f"standard output: expected room for the answer; got {error.strerror}"


def remark(text: str) -> None:
    """One line onto standard error. Nothing is lost with a remark, so one that cannot be made stops nothing."""
    try:
        _write(sys.stderr, " ".join(printable(text).split()))
    except OSError:
        silence(sys.stderr)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed before we began
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    stream.write(text + "\n")
    stream.flush()


def silence(stream: TextIO | None) -> None:
    """What is left in the stream's buffer goes nowhere, so that the end of the program does not fail over it."""
    with (
        contextlib.suppress(OSError, ValueError, AttributeError),
        open(os.devnull, "wb") as nowhere,
    ):
        os.dup2(nowhere.fileno(), stream.fileno())


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Send what other packages print to standard error: standard output has the answer alone."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Turn what a user or the machine can mend into one line and an exit code, and our warnings into lines, each said once."""
    said: set[str] = set()

    def show(message, category, *where, **more) -> None:
        if not issubclass(category, IdimWarning):
            shown(message, category, *where, **more)
        elif str(message) not in said:
            said.add(str(message))
            remark(f"idim: warning: {message}")

    with warnings.catch_warnings():
        shown, warnings.showwarning = warnings.showwarning, show
        warnings.simplefilter("always", IdimWarning)
        try:
            yield
        except IdimError as error:
            _end(str(error), MISTAKE)
        except BrokenPipeError:
            raise typer.Exit(PIPE_CLOSED) from None
        except KeyboardInterrupt:
            _end(
                "stopped; finished runs are kept, and the same command goes on from them",
                _INTERRUPTED,
            )
        except Exception as error:
            if is_out_of_memory(error):
                _end(f"memory: expected more of it; got {first_line(error)}", MISTAKE)
            if isinstance(error, OSError):  # a full disk, a folder that cannot be read
                _end(f"{error.filename or 'file'}: {error.strerror or first_line(error)}", MISTAKE)
            raise


def _end(line: str, code: int) -> None:
    remark(f"idim: {line}")
    raise typer.Exit(code) from None


class OneLine(TyperGroup):
    """A group of commands whose own mistakes (an unknown flag, a number that is none) take one line too."""

    def main(self, *args, standalone_mode: bool = True, **more):
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **more)
        code: object = MISTAKE
        try:
            code = super().main(*args, standalone_mode=False, **more)
            if sys.stdout is not None:
                sys.stdout.flush()
        except (
            BrokenPipeError,
            SystemExit,
        ):  # the latter is typer's own end where the reader of a help text went away
            silence(sys.stdout)
            code = PIPE_CLOSED
        except OSError as error:
            silence(sys.stdout)
            remark(f"idim: {_no_room(error)}")
        except Exception as error:
            # The parser's errors are of typer's own or of click's, by version. Without a command, the error is the help.
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
            elif hasattr(error, "format_message"):
                remark(f"idim: {error.format_message()}")
            else:
                raise
        sys.exit(code if isinstance(code, int) else 0)
