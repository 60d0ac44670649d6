"""``idim report``: everything that a store's records say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from idim.cli.answers import as_text, check_file, check_folder, table
from idim.cli.flags import Asked, takes
from idim.cli.terminal import answer
from idim.errors import DONE, IdimError

if TYPE_CHECKING:
    from idim.report.figures.catalogue import Spectra
    from idim.store import Store
    from idim.values.summary import Summary

EXAMPLE = "idim report idim-out --html idim-out/report.html"


@takes()
def command(
    asked: Asked,
    folder: Annotated[str, typer.Argument(help="A store, as --out made it.")],
    html: Annotated[
        str | None, typer.Option(help="Also write one page with everything in it.")
    ] = None,
    paper: Annotated[
        str | None,
        typer.Option(
            help="Also write every figure as PNG, SVG and PDF and every table as CSV, Markdown and "
            "LaTeX into this folder."
        ),
    ] = None,
    spectra: Annotated[
        bool,
        typer.Option(
            "--spectra",
            help="On the page, also show the eigenvalues of the projections nearest the answers; "
            "it makes them again.",
        ),
    ] = False,
    published: Annotated[
        str | None,
        typer.Option(help="JSON of published d90 by model, method and task, to stand beside ours."),
    ] = None,
) -> int:
    """Derive every summary, table and figure again from a store's records."""
    from idim.answers import summary
    from idim.answers.published import read
    from idim.made import Made
    from idim.report import page
    from idim.store import Store

    check_file(html, "--html")
    check_folder(paper, "--paper")
    theirs = read(published) if published else None
    store = Store(folder, create=False)
    made = Made(store)
    summaries = summary.derive(store, made)
    if not asked.as_json:
        answer(table(summaries))
    summary.keep(store, summaries, made)
    drawn = [found for _, found in page.draw(store, summaries, made)]
    paths = [found for found in drawn if isinstance(found, Path)]
    if html:
        command = f"idim report {folder} --html {html}"
        seen = _spectra(store, summaries) if spectra else None
        text = page.page(store, summaries, Path(html).parent, command, made, theirs, seen)
        page.write_html(text, Path(html))
        paths.append(Path(html))
    if paper:
        from idim.report.paper import write_paper

        found = list(write_paper(store, summaries, Path(paper), theirs))
        paths += [path for path in found if isinstance(path, Path)]
        drawn += [error for error in found if isinstance(error, IdimError)]
    if asked.as_json:
        kept = [s.to_json() for s in summaries]
        answer(as_text({"summaries": kept, "wrote": [str(p) for p in paths]}))
    else:
        answer("\n".join(f"wrote {p}" for p in paths))
    for error in drawn:
        if isinstance(error, IdimError):
            raise error
    return DONE


def _spectra(store: Store, summaries: list[Summary]) -> Spectra:
    """The spectra of the projections that the runs nearest to each answer used."""
    from idim.report.figures.marked import nearest
    from idim.spectra import eigenvalues

    records, found = store.all(), {}
    for s in summaries:
        run = nearest(records, s)
        if run is not None and (values := eigenvalues(run)):
            said = run.training.adaptation["projection"]
            found[s.id] = (said["family"], said["D"], said["d"], values)
    return found
