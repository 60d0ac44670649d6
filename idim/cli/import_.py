"""``idim import``: published results of other methods, beside ours."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from idim.cli.answers import as_text, check_file
from idim.cli.flags import Asked, takes
from idim.cli.terminal import answer
from idim.errors import DONE

EXAMPLE = "idim import path/to/method_comparison/results --figure imported.png"


@takes()
def command(
    asked: Asked,
    path: Annotated[
        str, typer.Argument(help="A JSON file of peft's method comparison, or a folder of them.")
    ],
    figure: Annotated[
        str | None, typer.Option(help="Also draw score against trained numbers into this file.")
    ] = None,
) -> int:
    """Read the results of peft's method comparison: one run each, so without an error.

    `idim frontier --imported PATH` puts them beside your own arms.
    """
    from idim.answers.imported import read

    check_file(figure, "--figure")
    results = read(path)
    if asked.as_json:
        answer(as_text({"results": [dataclasses.asdict(r) for r in results]}))
    else:
        from idim.report.frontier import imported_frame

        answer(imported_frame(results).to_string(index=False))
    if figure:
        from idim.report.figures.trained import figure_against_trained
        from idim.report.style import png
        from idim.store import write

        write(Path(figure), png(figure_against_trained("", [], None, results=results)))
    return DONE
