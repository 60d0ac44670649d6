"""What documents take from the code: the command line's reference, verdicts, arms, protocols."""

from __future__ import annotations

import textwrap

import typer

from idim.cli import COMMANDS, app, name_of
from idim.cli.ls import LISTS
from idim.config import PANELS
from idim.protocols import PROTOCOLS
from idim.values.verdict import Verdict


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def verdicts(up: str) -> str:
    """Every verdict and what it means."""
    lines = []
    for verdict in Verdict:
        line = f"- `{verdict}`: {verdict.sentence}."
        lines += textwrap.wrap(line, 98, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines)


def protocols(up: str) -> str:
    """Every protocol and what it is for."""
    rows = [(f"`{p.name}`", _cell(p.about)) for p in PROTOCOLS.values()]
    return _table(("protocol", "what it is"), rows)


def arms(up: str) -> str:
    """Every arm and what it trains."""
    return _listed("arms")


def tasks(up: str) -> str:
    """Every task by name."""
    return _listed("tasks")


def models(up: str) -> str:
    """Every model by name."""
    return _listed("models")


def _listed(name: str) -> str:
    return _table(
        ("name", "what it is"), [(f"`{n}`", _cell(a)) for n, a in LISTS[name][1]().items()]
    )


def command_line(up: str) -> str:
    """Every command with its flags, panel by panel."""
    group = typer.main.get_command(app)
    parts = []
    for panel, modules in COMMANDS.items():
        parts.append(f"## {panel}")
        for module in modules:
            name = name_of(module)
            parts += _command(name, group.commands[name])
    return "\n\n".join(parts)


def _command(name: str, command: typer.core.TyperCommand) -> list[str]:
    example = (command.epilog or "").removeprefix("Example: ")
    about = [
        textwrap.fill(part, 100, break_on_hyphens=False)
        for part in (command.help or "").split("\n\n")
    ]
    parts = [f"### `idim {name}`", *about, f"```bash\n{example}\n```"]
    panels: dict[str, list[tuple[str, ...]]] = {}
    for parameter in command.params:
        panel = getattr(parameter, "rich_help_panel", None) or "Options"
        names = " ".join(f"`{n}`" for n in [*parameter.opts, *parameter.secondary_opts])
        if parameter.param_type_name == "argument":
            panel, names = "Arguments", f"`{parameter.name}`"
        panels.setdefault(panel, []).append((names, _cell(parameter.help or "")))
    order = ["Arguments", "Options", *PANELS]
    for panel in sorted(panels, key=order.index):
        parts.append(_table((panel, ""), panels[panel]))
    return parts
