"""What the site needs beside docs/: the README as its first page, and the files that pages link to.

A page in docs/ reaches the top folder by ``../``. On the site the top folder's files lie beside the
pages, so that step falls away.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"(\]\()([^)#\s]+)")
_FIGURE = re.compile(r'<img [^>]*src="([^"]+)"[^>]*>')
#: Documents of the top folder that are pages of the site, and how they are called there.
_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "results/README.md": "how-results-are-made.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the top folder's documents as pages, and every other file that a page links to."""
    docs = ROOT / "docs"
    for source, name in _PAGES.items():
        text = _moved(ROOT / source, name, (ROOT / source).read_text())
        files.append(File.generated(config, name, content=text))
    linked: set[Path] = set()
    for path in [*docs.rglob("*.md"), *(ROOT / name for name in _PAGES)]:
        linked |= set(_targets(path))
    for path in sorted(linked):
        name = str(path.relative_to(ROOT))
        if path.is_file() and name not in _PAGES and docs not in path.parents:
            files.append(File.generated(config, _static(name), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **more: Any) -> str:
    """Turn the links of a page in docs/ into the site's, and list what every file holds."""
    source = ROOT / "docs" / page.file.src_uri
    if source.is_file():
        markdown = _moved(source, page.file.src_uri, markdown)
    return markdown.replace("<!-- files -->", _files())


def on_page_content(html: str, **more: Any) -> str:
    """Let every figure open alone and at full size: on a phone its letters are too small."""
    return _FIGURE.sub(r'<a href="\1">\g<0></a>', html)


def _targets(path: Path) -> list[Path]:
    found = [m[2] for m in _LINK.finditer(path.read_text()) if "://" not in m[2]]
    return [(path.parent / target).resolve() for target in found]


def _static(name: str) -> str:
    """Program texts and licences get an ending that every browser shows as text."""
    return name if Path(name).suffix in {".png", ".txt", ".json"} else f"{name}.txt"


def _moved(source: Path, page: str, text: str) -> str:
    """The text of a document with each link as the site has it on this page."""
    docs, here = ROOT / "docs", source.parent
    up = "../" * page.count("/")

    def new(match: re.Match[str]) -> str:
        if "://" in match[2]:
            return match[0]
        target = (here / match[2]).resolve()
        if target.is_dir() or not target.exists():
            raise FileNotFoundError(f"{source}: links to {match[2]}, which is no file")
        if docs in target.parents:
            name = str(target.relative_to(docs))
        else:
            name = str(target.relative_to(ROOT))
            name = _PAGES.get(name) or _static(name)
        return match[1] + up + name

    return _LINK.sub(new, text)


def _files() -> str:
    """Every file of both packages, with the first line of its docstring."""
    rows = ["| file | what it holds |", "|---|---|"]
    for package in ("projections", "idim"):
        for path in sorted((ROOT / package).rglob("*.py")):
            about = ast.get_docstring(ast.parse(path.read_text())) or ""
            if about:
                first = about.splitlines()[0].replace("|", "\\|").replace("``", "`")
                rows.append(f"| `{path.relative_to(ROOT)}` | {first} |")
    return "\n".join(rows)
