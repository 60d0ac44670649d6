"""The figures of a store, and one page with its table, its answers and its figures.

What writes comes after an answer is printed, so that a full disk or a broken figure takes no
answer away.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from idim.errors import IdimError, first_line, printable
from idim.report import figures
from idim.report.tables import compare_frame, summary_text
from idim.store import Store, write
from idim.values.search_summary import SearchSummary
from idim.values.summary import Summary


def draw(store: Store, summaries: Sequence[Summary]) -> Iterator[tuple[str, Path | IdimError]]:
    """Draw every figure: ``(id of the question that it answers, its path)``, or why there is none.

    One figure's failure leaves the others alone.
    """
    records = store.all()
    for study in dict.fromkeys(s.study for s in summaries):
        group = [s for s in summaries if s.study == study and s.levels and s.curve]
        searches = [s for s in group if isinstance(s, SearchSummary) and s.letter == "d"]
        if searches:
            name, make = searches[0].id, lambda: figures.score_against_d(records, searches)
            yield name, _drawn(store, f"d-{name}.png", make)
        for sweep in group:
            if sweep.letter not in ("d", ""):
                name, make = (
                    sweep.id,
                    lambda: figures.score_against_rank(records, sweep, searches),
                )
                yield name, _drawn(store, f"rank-{name}.png", make)


def _drawn(store: Store, name: str, make: Callable[[], bytes]) -> Path | IdimError:
    try:
        return store.keep("figures", name, make())
    except IdimError as error:
        return error
    except Exception as error:  # a figure is worth no answer, and matplotlib raises what it likes
        return IdimError(f"figure {name}: not drawn; {type(error).__name__}: {first_line(error)}")


def image(png: bytes, name: str) -> str:
    """A picture as HTML that needs no other file."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(printable(name))}" src="data:image/png;base64,{data}">'


def text(lines: str) -> str:
    """Text as HTML that keeps its lines."""
    return f"<pre>{html.escape(printable(lines))}</pre>"


def write_html(summaries: Sequence[Summary], paths: Iterable[Path], file: Path) -> None:
    """Write one page with nothing outside it: the table, then the figures, then each answer.

    Cost: the figures' bytes, in base64.
    """
    texts = [summary_text(s) for s in summaries]
    images = [image(p.read_bytes(), p.stem) for p in paths]
    table = compare_frame(summaries).map(lambda v: printable(v) if isinstance(v, str) else v)
    body = "\n".join(
        [
            table.to_html(index=False, float_format=lambda v: f"{v:.4f}", border=0, escape=True),
            *images,
            *map(text, texts),
        ]
    )
    style = (
        "body{font:15px/1.5 sans-serif;max-width:72em;margin:2em auto;padding:0 1em}"
        "img{max-width:100%}td,th{padding:.2em .7em;text-align:left}"
        "pre{background:#f5f5f5;padding:1em;overflow:auto}table{border-collapse:collapse}"
        "tr:nth-child(even){background:#f7f7f7}"
    )
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Intrinsic dimension</title>'
        f"<style>{style}</style>"
        f"<h1>Intrinsic dimension of fine-tuning</h1>{body}</html>\n"
    )
    # The page says UTF-8, whatever the locale. A name that is no text is shown by its escapes.
    page_bytes = page.encode("utf-8", "backslashreplace")
    try:
        # Through a link, and into a device or a pipe: a name that is in use keeps what it names.
        file = file.resolve()
        if file.exists() and not file.is_file():
            file.write_bytes(page_bytes)
        else:
            write(file, page_bytes)
    except (OSError, RuntimeError, ValueError, IdimError) as error:
        raise IdimError(f"--html: {error}") from None
