"""Write all that is made of records and numbers in results/: first there, then in documents.

python scripts/write_tables.py          # writes
python scripts/write_tables.py --check  # exit code 1 where a document and the records differ

The summaries and figures of every store in results/ come first, where their records or the code
that makes them changed. Then the texts and figures of the studies are made of their numbers (see
``derived.py``). Documents take the rest between their markers. A marker names a function
of ``measured.py`` or ``told.py`` and stands on a line of its own:

    <!-- study: python scripts/write_tables.py -->
    ... what the function returns ...
    <!-- end -->
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import derived
import measured
import told

from idim.answers import summary
from idim.made import Made
from idim.report.page import draw
from idim.report.style import png
from idim.store import Store, write_json

ROOT = Path(__file__).resolve().parent.parent
#: The functions take the way from the document to the top folder: "" or "../".
MAKERS: dict[str, Callable[[str], str]] = {
    name.replace("_", "-"): make
    for room in (measured, told)
    for name, make in vars(room).items()
    if callable(make) and getattr(make, "__module__", "") == room.__name__ and name[0] != "_"
}
_MARKED = re.compile(r"(<!-- ([\w-]+): [^\n]*-->\n).*?(<!-- end -->)", re.S)


def documents() -> list[Path]:
    """Every document that may hold markers."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def written(path: Path) -> str:
    """The document's text with everything between its markers made anew.

    Raises:
        KeyError: a marker names no function.
    """
    up = "../" * (len(path.relative_to(ROOT).parts) - 1)
    return _MARKED.sub(lambda m: f"{m[1]}{MAKERS[m[2]](up)}\n{m[3]}", path.read_text())


def remade(folder: Path) -> list[Path]:
    """Write the summaries and the figures of a store, and name those that are not what they were.

    A figure that nothing draws any more is removed.
    """
    store = Store(folder, create=False)
    before = {p: p.read_bytes() for p in folder.glob("*/*-*.*")}
    made = Made(store)
    summaries = summary.derive(store, made)
    summary.keep(store, summaries, made)
    found = [path for _, path in draw(store, summaries, made)]
    for path in {*(folder / "figures").glob("*.png")} - {*found}:
        path.unlink()
    return [p for p in found if isinstance(p, Path) and before.get(p) != p.read_bytes()]


def told_of_studies(results: Path) -> list[Path]:
    """Write the numbers, texts and figures of studies, and name those that changed."""
    before = {p: p.read_bytes() for p in results.glob("*/*.*")}
    for path, numbers in derived.numbers(results):
        write_json(path, numbers)
    for path, text in derived.texts(results):
        path.write_text(text)
    for path, figure in derived.figures(results):
        path.write_bytes(png(figure))
    return [p for p in sorted(results.glob("*/*.*")) if before.get(p) != p.read_bytes()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    asked = parser.parse_args()
    stale: list[Path] = []
    for folder in sorted(p.parent for p in (ROOT / "results").glob("*/searches")):
        if not asked.check:
            stale += remade(folder)
    if not asked.check:
        stale += told_of_studies(ROOT / "results")
    for path in documents():
        text = written(path)
        if text != path.read_text():
            stale.append(path)
            if not asked.check:
                path.write_text(text)
    word = "differs" if asked.check else "wrote"
    print("\n".join(f"{word}: {path.relative_to(ROOT)}" for path in stale))
    sys.exit(bool(stale) and asked.check)


if __name__ == "__main__":
    main()
