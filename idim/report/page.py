"""Everything a store holds: summaries made anew from its records, figures, one table, and a page.

``derive`` only reads. What writes comes after an answer is printed: a full disk or a broken figure takes no answer away.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator
from pathlib import Path

from idim.errors import IdimError, expected, first_line, printable
from idim.report import figures
from idim.report.summary import summarise, summarise_sweep
from idim.report.tables import compare_frame, search_text, sweep_text
from idim.store import Store, write
from idim.stored import Unfit, check_answers, file_name


def derive(store: Store) -> list[dict]:
    """The summary of every question in the store, with its ``id``, ``study`` and ``keys``. Writes nothing.

    A question that its runs do not fit is skipped, and counted with the other files that do not fit.
    """
    records, questions = store.all(), store.questions()
    summaries = []
    for q in questions:
        try:
            check_answers(q, [r for r in records if r["key"] in q["keys"]])
            made = (summarise_sweep if q["arm"] == "lora" else summarise)(records, q)
        except Unfit as error:
            store.skip(store.root / "searches" / f"{file_name(q['id'])}.json", error)
            continue
        summaries.append(made | {"study": q["study"], "id": q["id"], "keys": set(q["keys"])})
    if not summaries:
        raise expected(
            "store",
            "at least one search or sweep",
            f"{store.root} has none" + (", and files that do not fit" if store.skipped else ""),
        )
    return summaries


def keep(store: Store, summaries: list[dict]) -> None:
    """Write the summaries into the store."""
    for s in summaries:
        kept = {k: v for k, v in s.items() if k != "keys"}
        store.keep(
            "summaries",
            f"{s['id']}.json",
            (json.dumps(kept, indent=1, allow_nan=False) + "\n").encode(),
        )


def draw(store: Store, summaries: list[dict]) -> Iterator[tuple[str, Path | IdimError]]:
    """Draw every figure: ``(id of the question that it answers, its path)``, or why there is none.

    One figure's failure leaves the others alone.
    """
    records = store.all()
    for study in dict.fromkeys(s["study"] for s in summaries):
        group = [s for s in summaries if s["study"] == study and s["full"]]
        searches = [s for s in group if s["arm"] != "lora" and s["curve"]]
        if searches:
            name = searches[0]["id"]
            yield (
                name,
                _drawn(store, f"d-{name}.png", lambda: figures.score_against_d(records, searches)),
            )
        for sweep in (s for s in group if s["arm"] == "lora" and s["curve"]):
            name = sweep["id"]
            yield (
                name,
                _drawn(
                    store,
                    f"rank-{name}.png",
                    lambda: figures.score_against_rank(records, sweep, searches),
                ),
            )


def _drawn(store: Store, name: str, make) -> Path | IdimError:
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


def write_html(summaries: list[dict], paths: list[Path], file: Path) -> None:
    """One page with nothing outside it: the table, then each answer, then the figures. Cost: the figures' bytes, in base64."""
    texts = [sweep_text(s) if s["arm"] == "lora" else search_text(s) for s in summaries]
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
        "body{font:15px/1.5 sans-serif;max-width:72em;margin:2em auto;padding:0 1em}img{max-width:100%}"
        "td,th{padding:.2em .7em;text-align:left}pre{background:#f5f5f5;padding:1em;overflow:auto}table{border-collapse:collapse}"
        "tr:nth-child(even){background:#f7f7f7}"
    )
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Intrinsic dimension</title><style>{style}</style>'
        f"<h1>Intrinsic dimension of fine-tuning</h1>{body}</html>\n"
    )
    # In UTF-8 as the page says, whatever the locale; a name that is no text is shown by its escapes.
    data = page.encode("utf-8", "backslashreplace")
    try:
        # Through a link, and into a device or a pipe: a name that is in use keeps what it names.
        file = file.resolve()
        if file.exists() and not file.is_file():
            file.write_bytes(data)
        else:
            write(file, data)
    except (OSError, RuntimeError, ValueError, IdimError) as error:
        raise IdimError(f"--html: {error}") from None
