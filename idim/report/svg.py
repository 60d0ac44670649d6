"""A figure inside of a page: it takes the page's colours, and a point tells of its run."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

from idim.errors import printable
from idim.report.figures.marked import RUN, said_of
from idim.values.record import Record

#: What a figure is drawn in -> what the page makes of it, by day and by night.
_COLOURS = {
    "#000000": "currentColor",
    "#595959": "var(--muted)",
    "#a6a6a6": "var(--faint)",
    "#ffffff": "var(--ground)",
}
_ID = re.compile(r' id="([^"]*)"')
_USED = re.compile(r'(?:url\(#|href="#)([^")]+)')


def inline(svg: bytes, name: str, about: str, records: Mapping[str, Record]) -> str:
    """An SVG as a part of a page.

    Args:
        svg: as ``style.svg`` made it.
        name: of the figure; no other on the page may have it.
        about: what it shows, for a reader who sees no picture.
        records: by key, for the points that are runs.
    """
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    for drawn, shown in _COLOURS.items():
        text = text.replace(drawn, shown)

    def title(match: re.Match[str]) -> str:
        record = records.get(match[1])
        told = html.escape(printable(said_of(record))) if record else ""
        return f'<g class="run"><title>{told}</title>' if told else "<g>"

    text = re.sub(rf'<g id="{RUN}([^"]*)">', title, text)
    # Several figures share a page: names are kept where something refers to them, each once.
    used = set(_USED.findall(text))
    mine = html.escape(name)
    text = _ID.sub(lambda m: f' id="{mine}-{m[1]}"' if m[1] in used else "", text)
    text = _USED.sub(lambda m: m[0].replace(m[1], f"{mine}-{m[1]}"), text)
    label = html.escape(printable(about))
    head, _, rest = text.partition(">")
    head = re.sub(r' (?:width|height|version|xmlns:xlink)="[^"]*"', "", head)
    head = head.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    head = head.replace(" xmlns=", ' xmlns:xlink="http://www.w3.org/1999/xlink" xmlns=', 1)
    return f"{head}>{rest}".strip()
