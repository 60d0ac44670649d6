"""``idim report``: everything that a store's records say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from idim.cli.answers import as_text, table
from idim.cli.flags import Asked, takes
from idim.cli.terminal import answer
from idim.errors import DONE, IdimError

EXAMPLE = "idim report idim-out --html idim-out/report.html"


@takes()
def command(
    asked: Asked,
    folder: Annotated[str, typer.Argument(help="A store, as --out made it.")],
    html: Annotated[
        str | None, typer.Option(help="Also write one page with everything in it.")
    ] = None,
) -> int:
    """Derive every summary, table and figure again from a store's records."""
    from idim.answers import summary
    from idim.report import page
    from idim.store import Store

    store = Store(folder, create=False)
    summaries = summary.derive(store)
    if not asked.as_json:
        answer(table(summaries))
    summary.keep(store, summaries)
    drawn = [made for _, made in page.draw(store, summaries)]
    paths = [made for made in drawn if isinstance(made, Path)]
    if html:
        page.write_html(summaries, paths, Path(html))
        paths.append(Path(html))
    if asked.as_json:
        kept = [s.to_json() for s in summaries]
        answer(as_text({"summaries": kept, "wrote": [str(p) for p in paths]}))
    else:
        answer("\n".join(f"wrote {p}" for p in paths))
    for error in drawn:
        if isinstance(error, IdimError):
            raise error
    return DONE
