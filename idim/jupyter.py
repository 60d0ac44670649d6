"""In a notebook, summaries and records show themselves as a table and a figure."""

from __future__ import annotations

import sys
from collections.abc import Callable

#: The class, and the function that shows it.
_SHOWN = (
    ("idim.values.summary", "Summary", "summary_html"),
    ("idim.values.record", "Record", "record_html"),
)


def register() -> None:
    """Tell the running notebook how to show them. Without a notebook nothing happens.

    Cost: nothing is loaded before the first of them is shown.
    """
    package = sys.modules.get("IPython")
    shell = package.get_ipython() if package is not None else None
    if shell is None:
        return
    formatter = shell.display_formatter.formatters["text/html"]
    for module, name, function in _SHOWN:
        formatter.for_type_by_name(module, name, _by(function))


def _by(function: str) -> Callable[[object], str]:
    def show(value: object) -> str:
        from idim.report import notebook

        shown: str = getattr(notebook, function)(value)
        return shown

    return show
