"""A study keeps its numbers as JSON. A text, and maybe a figure, are made of these alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from idim.report.style import png
from idim.store import write_json


def write(
    path: Path,
    found: Any,
    text: Callable[[Any], str],
    figure: Callable[[Any], Figure] | None = None,
) -> None:
    """Write a study's numbers, and what is made of them beside. Prints the text.

    Args:
        path: of the JSON. The text and the figure differ from it in their ending.
        found: the numbers.
        text: the numbers in words and tables.
        figure: the numbers drawn.
    """
    write_json(path, found)
    path.with_suffix(".txt").write_text(text(found))
    if figure:
        path.with_suffix(".png").write_bytes(png(figure(found)))
    print(text(found), end="")
