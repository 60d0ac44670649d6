"""All runs of a store as one tidy table."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping

import pandas as pd

from idim.answers.evidence import size_of
from idim.arms import ARMS
from idim.values.fields import Json
from idim.values.record import Record

#: What comes first, because a reader looks for it first.
_FIRST = (
    "key", "kind", "model", "task", "arm", "size", "letter", "score", "status", "rate", "d_total",
    "steps", "seconds", "study",
)  # fmt: skip


def records_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row a run. Nested settings are columns with dots in their names.

    Lists, as a learning curve, are JSON in their cells. ``score`` is empty for a run that failed.
    """
    rows = []
    for r in records:
        kept, size = r.to_json(), ARMS[r.spec.arm].size
        flat: Json = {
            "key": r.key,
            "size": size_of(r) if size else None,
            "letter": size.letter if size else "",
            "score": r.score,
            "rate": r.rate,
        }
        for part in ("run_info", "train_info", "meta_info"):
            _flatten("", kept.pop(part), flat)
        flat |= {name: value for name, value in kept.items() if name not in flat}
        rows.append(flat)
    frame = pd.DataFrame(rows)
    first = [name for name in _FIRST if name in frame]
    return frame[first + sorted(set(frame) - set(first))]


def _flatten(prefix: str, value: Mapping[str, object], into: Json) -> None:
    for name, inner in value.items():
        # The configuration is the run itself: its fields need no prefix.
        where = f"{prefix}.{name}" if prefix else name
        if isinstance(inner, Mapping):
            _flatten("" if where == "config" else where, inner, into)
        elif where not in into:
            into[where] = json.dumps(inner) if isinstance(inner, (list, tuple)) else inner


def as_bytes(frame: pd.DataFrame, ending: str) -> bytes:
    """The table as a file: ".parquet" or ".csv"."""
    if ending == ".csv":
        return str(frame.to_csv(index=False)).encode("utf-8", "backslashreplace")
    out = io.BytesIO()
    # A column that holds numbers in one run and words in another is one of words.
    mixed = [c for c in frame if frame[c].dtype == object]
    frame.astype(dict.fromkeys(mixed, "string")).to_parquet(out, index=False)
    return out.getvalue()
