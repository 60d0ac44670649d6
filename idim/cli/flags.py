"""Flags made from the fields of Config, and what every command has in common."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from idim.cli.terminal import guarded
from idim.config import OUTPUT, PANELS, WHAT, Config, check_read, make
from idim.errors import IdimError, one_of

_AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object on standard output, and nothing else there.",
        rich_help_panel=OUTPUT,
    ),
]
_Quick = Annotated[
    bool,
    typer.Option(
        "--quick", help="Short for --protocol quick: a first look in minutes.", rich_help_panel=WHAT
    ),
]
_FIELDS = {f.name: f for f in dataclasses.fields(Config)}
_KINDS = typing.get_type_hints(Config)
#: What the commands are told beside the fields of Config.
MEASURING = ("quick", "config", "as_json")


@dataclass(frozen=True)
class Asked:
    """What the flags say: ``given`` in the names of Config, a file of them, how to answer."""

    given: dict[str, Any]
    file: str | None
    as_json: bool

    def config(self, default: Mapping[str, Any] | None = None, /, **more: object) -> Config:
        """The flags over the file's keys over the defaults. ``more`` goes over all of them.

        Args:
            default: the command's own, before Config's.
        """
        return make({**self.given, **more}, self.file, default)

    def of_one_arm(self, default: Mapping[str, Any] | None = None, /, **more: object) -> Config:
        """As ``config``, where one arm is measured: a flag that it would ignore is refused.

        A file may serve several arms, so its keys may be for others.
        """
        config = self.config(default, **more)
        check_read(config.arm, self.given)
        return config


def all_but(*names: str) -> tuple[str, ...]:
    """The fields of Config without these."""
    return tuple(f.name for f in dataclasses.fields(Config) if f.name not in names)


def takes(
    fields: Collection[str] = (), also: Collection[str] = ("as_json",)
) -> Callable[[Callable[..., int]], Callable[..., None]]:
    """Make a function a command.

    Its first parameter gets what was asked. Its other parameters are flags and arguments of its
    own. The number that it returns is the exit code, and a user's mistake takes one line.

    Args:
        fields: the fields of Config that the command takes as flags.
        also: which of the flags ``quick``, ``config`` and ``as_json`` it takes.
    """

    def decorate(run: Callable[..., int]) -> Callable[..., None]:
        own = list(inspect.signature(run, eval_str=True).parameters.values())[1:]
        made: dict[str, tuple[Any, object]] = {name: _flag(name) for name in fields}
        told = {
            "quick": (_Quick, False),
            "config": (_file(["quick", "json", *(p.name for p in own)]), None),
            "as_json": (_AsJson, False),
        }
        made |= {name: told[name] for name in also}

        def command(**values: Any) -> None:
            with guarded():
                taken = {name: values.pop(name) for name in made}
                quick, file, as_json = (taken.pop(name, None) for name in MEASURING)
                code = run(Asked(_given(taken, bool(quick)), file, bool(as_json)), **values)
                if code:
                    raise typer.Exit(code)

        shown = [p.replace(kind=p.KEYWORD_ONLY) for p in own]
        shown += [_parameter(name, *flag) for name, flag in made.items()]
        shown.sort(key=_panel)
        command.__doc__ = _lines_joined(inspect.getdoc(run) or "")
        command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined] # for typer
        command.__annotations__ = {p.name: p.annotation for p in shown}
        return command

    return decorate


def names_in(text: str | None, flag: str) -> list[str]:
    """The names in a text with commas between. Raises ``IdimError`` where there is none.

    A comma inside of brackets belongs to a regular expression: ``q|v{1,2},k`` has two parts.
    """
    parts, depth = [""], 0
    for c in text or "":
        depth = max(0, depth + (c in "([{") - (c in ")]}"))
        if c == "," and not depth:
            parts.append("")
        else:
            parts[-1] += c
    parts = [part.strip() for part in parts if part.strip()]
    if not parts:
        raise IdimError(f"{flag}: expected names with commas between; got {text!r}")
    if len(set(parts)) < len(parts):
        raise IdimError(f"{flag}: expected each name once; got {text!r}")
    return parts


def _flag(name: str) -> tuple[Any, None]:
    """The flag of a field of Config: its annotation and its default."""
    kind, metadata = _KINDS[name], _FIELDS[name].metadata
    taken = str if _is_list(kind) else kind
    dashed = name.replace("_", "-")
    option = typer.Option(
        f"--{dashed}/--no-{dashed}" if taken is bool else f"--{dashed}",
        help=metadata["about"],
        rich_help_panel=metadata["panel"],
        autocompletion=_completion(metadata["choices"]),
    )
    return Annotated[taken | None, option], None


def _file(keyless: list[str]) -> Any:
    """The flag of a TOML file, of a command some of whose flags have no key there."""
    *most, last = ["--" + name.replace("_", "-") for name in keyless]
    but = f"{', '.join(most)} and {last}"
    about = f"A TOML file; every flag but {but} has a key of the same name."
    return Annotated[str | None, typer.Option("--config", help=about, rich_help_panel=WHAT)]


def _parameter(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _panel(parameter: inspect.Parameter) -> int:
    """Where the help shows a flag. A flag without a panel comes first."""
    (option,) = parameter.annotation.__metadata__
    return PANELS.index(option.rich_help_panel) if option.rich_help_panel else -1


def _lines_joined(text: str) -> str:
    """Paragraphs, each on one line: the terminal breaks the lines."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _is_list(kind: Any) -> bool:
    return typing.get_origin(kind) is tuple


def _completion(choices: tuple[str, ...]) -> Callable[[str], list[str]] | None:
    """What the shell offers for a flag that takes one of a few words."""
    if not choices:
        return None
    return lambda incomplete: [c for c in choices if c.startswith(incomplete)]


def _given(values: dict[str, Any], quick: bool) -> dict[str, Any]:
    """The flags that were set. Those of several values come as tuples."""
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if _is_list(_KINDS[name]):
            flag, inner = "--" + name.replace("_", "-"), typing.get_args(_KINDS[name])[0]
            parts = names_in(value, flag)
            given[name] = tuple(_whole(p, flag) if inner is int else p for p in parts)
    if quick:
        if given.get("protocol", "quick") != "quick":
            raise one_of("--protocol with --quick", ("quick",), given["protocol"])
        given["protocol"] = "quick"
    return given


def _whole(text: str, flag: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise IdimError(
            f"{flag}: expected whole numbers with commas between; got {text!r}"
        ) from None
