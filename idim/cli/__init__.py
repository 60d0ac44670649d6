"""The command line. One file a command; each reads flags, calls the library and prints its answer.

Exit codes, the same for every command: 0 done, 2 the user's mistake (one line says what was
expected and what came), 3 measured but not reached, 1 a defect of ours, or whatever `idim doctor`
found that does not work.
"""

from __future__ import annotations

import logging
import sys
import warnings
from types import ModuleType
from typing import Annotated

import typer

from idim import __version__
from idim.cli import (
    compare,
    doctor,
    export,
    export_records,
    frontier,
    gc,
    import_,
    ls,
    recommend,
    report,
    search,
    sweep,
    train,
)
from idim.cli.terminal import OneLine, answer, guarded
from idim.executors import torchrun

__all__ = ["COMMANDS", "app", "main", "name_of"]

#: Every command, in the panels of `idim --help`.
COMMANDS: dict[str, tuple[ModuleType, ...]] = {
    "Measure": (search, sweep, train, compare, frontier, recommend),
    "Use what was measured": (report, export, export_records, import_),
    "Look around": (ls, doctor, gc),
}

app = typer.Typer(
    cls=OneLine,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure the intrinsic dimension of fine-tuning: the smallest d that reaches 90 % of "
    "full fine-tuning.",
    epilog="idim COMMAND --help shows the flags of a command.",
)


def name_of(module: ModuleType) -> str:
    """The name of a command: that of its file, without the _ after a word of Python's own."""
    return module.__name__.rpartition(".")[2].rstrip("_").replace("_", "-")


def _version(asked: bool) -> None:
    if asked:
        with guarded():
            answer(f"idim {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_version
        ),
    ] = False,
) -> None:
    """What holds for every command."""


for _panel, _modules in COMMANDS.items():
    for _module in _modules:
        _about = (_module.command.__doc__ or "").split("\n\n")[0]
        app.command(
            name_of(_module),
            short_help=f"{_about}\n[dim]{_module.EXAMPLE}[/dim]",
            epilog=f"Example: {_module.EXAMPLE}",
            rich_help_panel=_panel,
        )(_module.command)


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    if not sys.warnoptions:
        # What other packages mean to rename is of no use to whoever calls a command.
        warnings.filterwarnings("ignore", category=FutureWarning)
        # bitsandbytes names a package that it would like to have on a CPU.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if torchrun.launched():
        torchrun.lead_or_follow(app)
    else:
        app()
