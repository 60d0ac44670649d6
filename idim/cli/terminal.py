"""What reaches the terminal: answers, remarks, one line for a mistake, an exit code.

Answers go to standard output as soon as they are known, in whatever encoding it has. Remarks go to
standard error. A name never reaches the terminal as a command to it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NoReturn, TextIO

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
    """Print onto standard output, at once.

    Raises:
        IdimError: standard output takes nothing, as on a full disk.
        BrokenPipeError: its reader went away.
    """
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
    """Print one line onto standard error. A remark that cannot be made stops nothing."""
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
    """Throw away what is left in the stream's buffer, so that the program's end does not fail."""
    if stream is None:
        return
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
def watching(report_to: str = "none", out: str = "") -> Iterator[Any]:
    """A Watcher that shows a measurement on standard error.

    What other packages print goes there too.

    Args:
        report_to: the tracker that gets every run, too; "none" for none.
        out: the store, beside whose runs a tracker may keep what it gets.
    """
    # Here, because it loads torch, and a mistyped flag must not wait for that.
    from idim.progress import shown

    with aside(), shown(lambda: silence(sys.stderr)) as watcher:
        if report_to != "none":
            from idim.trackers import tracker

            finished = tracker(report_to, os.path.join(out, report_to))
            watcher = dataclasses.replace(watcher, finished=finished)
        yield watcher


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Turn what a user or the machine can mend into one line and an exit code.

    Our warnings become lines too. Each is said once.
    """
    said: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not issubclass(category, IdimWarning):
            shown(message, category, *where, **more)
        elif str(message) not in said:
            said.add(str(message))
            remark(f"idim: warning: {message}")

    with warnings.catch_warnings():
        shown = warnings.showwarning
        warnings.showwarning = show
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


def _end(line: str, code: int) -> NoReturn:
    remark(f"idim: {line}")
    raise typer.Exit(code) from None


class OneLine(TyperGroup):
    """A group of commands whose own mistakes take one line too, as an unknown flag does."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command that the arguments name, and end the process with its exit code."""
        run = partial(
            super().main, args, prog_name, complete_var, False, windows_expand_args, **extra
        )
        if not standalone_mode:
            return run()
        code: object = MISTAKE
        try:
            code = run()
            if sys.stdout is not None:
                sys.stdout.flush()
        except BrokenPipeError:
            silence(sys.stdout)
            code = PIPE_CLOSED
        except SystemExit as error:
            # typer ends so after a shell asked for completions, and where the reader of a help
            # text went away.
            code = error.code
            if isinstance(error.__context__, OSError):
                silence(sys.stdout)
                code = PIPE_CLOSED
        except OSError as error:
            silence(sys.stdout)
            remark(f"idim: {_no_room(error)}")
        except Exception as error:
            # By its version, the parser raises typer's errors or click's. Without a command, the
            # error is the help.
            if type(error).__name__ == "NoArgsIsHelpError" and hasattr(error, "show"):
                error.show()
            elif hasattr(error, "format_message"):
                remark(f"idim: {error.format_message()}")
            else:
                raise
        sys.exit(code if isinstance(code, int) else 0)
