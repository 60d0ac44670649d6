"""A table as CSV, as Markdown and as LaTeX."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from idim.errors import printable


def _safe(frame: pd.DataFrame) -> pd.DataFrame:
    """Names come from files: no control character of theirs stays."""
    shown = frame.map(lambda v: " ".join(printable(v).split()) if isinstance(v, str) else v)
    return shown.rename(columns=lambda name: " ".join(printable(str(name)).split()))


def csv(frame: pd.DataFrame, about: str = "") -> str:
    """Comma-separated, every cell whole."""
    return str(_safe(frame).to_csv(index=False))


def markdown(frame: pd.DataFrame, about: str = "") -> str:
    """A table of Markdown, which GitHub and MkDocs show."""
    shown = _safe(frame)

    def line(cells: list[object]) -> str:
        return "| " + " | ".join(_text(c).replace("|", "\\|") for c in cells) + " |"

    rows = [list(row) for row in shown.itertuples(index=False, name=None)]
    return "\n".join([line(list(shown)), line(["---"] * len(shown.columns)), *map(line, rows)])


def latex(frame: pd.DataFrame, about: str = "") -> str:
    """A table of LaTeX with the rules of booktabs, to be put into a document as it is."""
    shown = _safe(frame)
    numbers = [pd.api.types.is_numeric_dtype(shown[name]) for name in shown]
    text = str(
        shown.to_latex(
            index=False,
            escape=True,
            column_format="".join("r" if n else "l" for n in numbers),
            caption=_escaped(about) or None,
            float_format="{:.4f}".format,
            na_rep="",
        )
    )
    # At a row's start a bracket would be the argument of the line break before it.
    return "\n".join(
        f"{{[}}{line[1:]}" if line.startswith("[") else line for line in text.split("\n")
    )


def _escaped(text: str) -> str:
    for sign, written in (
        ("\\", "\\textbackslash "), ("&", "\\&"), ("%", "\\%"), ("$", "\\$"), ("#", "\\#"),
        ("_", "\\_"), ("{", "\\{"), ("}", "\\}"), ("~", "\\textasciitilde "), ("^", "\\^{}"),
    ):  # fmt: skip
        text = text.replace(sign, written)
    return printable(text)


def _text(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


#: Each form by the ending of its file.
FORMS: dict[str, Callable[[pd.DataFrame, str], str]] = {"csv": csv, "md": markdown, "tex": latex}
