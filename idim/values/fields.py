"""Checks of JSON that others may have edited: a table of fields by their path.

Each field has a sentence, which an error repeats, and a test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeGuard

from idim.errors import is_unicode

#: A JSON object.
Json = dict[str, Any]


class Unfit(ValueError):
    """A file of a store is not what it should be. The message says why."""


class Field(NamedTuple):
    """What a value must be: in words, and as a test."""

    what: str
    holds: Callable[[object], bool]


def _is_number(v: object) -> TypeGuard[float]:
    return isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e300


def _is_whole(v: object) -> TypeGuard[int]:
    return isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 63


def _is_text(v: object) -> bool:
    return isinstance(v, str) and is_unicode(v)


def _is_key(v: object) -> bool:
    return isinstance(v, str) and bool(re.fullmatch("[0-9a-f]{20}", v))


def _is_curve(v: object) -> bool:
    return isinstance(v, list) and all(
        isinstance(p, dict)
        and set(p) == {"step", "score"}
        and _is_whole(p["step"])
        and (p["score"] is None or _is_number(p["score"]))
        for p in v
    )


def _is_stopped(v: object) -> bool:
    return (
        isinstance(v, dict)
        and set(v) == {"side", "bound", "share"}
        and v["side"] in ("above", "below")
        and _is_number(v["bound"])
        and _is_number(v["share"])
        and 0 < v["share"] <= 1
    )


def _is_early(v: object) -> bool:
    return isinstance(v, list) and len(v) in (2, 3) and all(map(_is_number, v))


def maybe(field: Field) -> Field:
    """The field, or null."""
    return Field(f"{field.what} or null", lambda v: v is None or field.holds(v))


def one_of(names: Iterable[str]) -> Field:
    """One of these texts."""
    known = tuple(str(name) for name in names)
    return Field(f"one of {', '.join(known)}", lambda v: isinstance(v, str) and v in known)


NUMBER = Field("a finite number", _is_number)
WHOLE = Field("a whole number that is not negative", _is_whole)
POSITIVE = Field("a whole number of at least 1", lambda v: _is_whole(v) and v > 0)
ABOVE_0 = Field("a number above 0", lambda v: _is_number(v) and v > 0)
DURATION = Field("seconds", lambda v: _is_number(v) and v >= 0)
FRACTION = Field("a fraction between 0 and 1", lambda v: _is_number(v) and 0 < v < 1)
SHARE = Field("a share from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1)
TEXT = Field("text", _is_text)
BOOL = Field("true or false", lambda v: isinstance(v, bool))
OBJECT = Field("an object", lambda v: isinstance(v, dict))
TEXTS = Field("a list of texts", lambda v: isinstance(v, list) and all(map(_is_text, v)))
KEY = Field("a key of 20 hexadecimal digits", _is_key)
KEYS = Field(
    "a list of distinct keys",
    lambda v: isinstance(v, list) and all(map(_is_key, v)) and len(set(v)) == len(v),
)
CURVE = Field("a list of steps and scores", _is_curve)
STOPPED = Field("a side, a bound and a share of the steps", _is_stopped)
EARLY = Field("a threshold, chance and a noise", _is_early)
TEXTS_BY_NAME = Field(
    "texts by name", lambda v: isinstance(v, dict) and all(map(_is_text, v.values()))
)
COUNTS = Field(
    "whole numbers by name", lambda v: isinstance(v, dict) and all(map(_is_whole, v.values()))
)
SHARES = Field(
    "shares by key",
    lambda v: isinstance(v, dict) and all(_is_key(k) and SHARE.holds(s) for k, s in v.items()),
)


def check(value: Json, fields: Mapping[str, Field]) -> None:
    """Check the fields of an object.

    Args:
        value: the object.
        fields: what each place must hold. Dots separate the parts of a path; a question mark
            ends the path of a field that may be missing.

    Raises:
        Unfit: for the first field that is missing or holds something else.
    """
    for path, (what, holds) in fields.items():
        at: object = value
        parts, optional = path.removesuffix("?").split("."), path.endswith("?")
        for part in parts[:-1]:
            at = at.get(part) if isinstance(at, dict) else None
        if not isinstance(at, dict):
            raise Unfit(f"{'.'.join(parts[:-1])}: expected an object")
        if parts[-1] not in at:
            if optional:
                continue
            raise Unfit(f"{'.'.join(parts)} is missing")
        if not holds(at[parts[-1]]):
            raise Unfit(f"{'.'.join(parts)}: expected {what}; got {at[parts[-1]]!r:.80}")


def check_names(value: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raise ``Unfit`` for a name that this version does not know."""
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise Unfit(f"{where}: {unknown[0]!r:.60} is not known here")


def same(what: str, a: object, b: object) -> None:
    """Raise ``Unfit`` where two things differ that must be equal."""
    if a != b:
        raise Unfit(f"{what}: {a!r:.60} is not {b!r:.60}")


def migrated(value: Json, steps: Mapping[int, Callable[[Json], Json]]) -> Json:
    """The object in the newest schema.

    Args:
        value: an object whose ``schema`` says how it was written; 1 where it says nothing.
        steps: for each older schema, what turns it into the next one.

    Raises:
        Unfit: for a schema that is none, or that a newer version wrote.
    """
    newest = max(steps) + 1
    schema = value.get("schema", 1)
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise Unfit(f"schema: expected {newest}; got {schema!r:.60}")
    if schema > newest:
        raise Unfit(f"schema {schema} is of a newer idim; this one reads up to {newest}")
    for older in range(schema, newest):
        value = steps[older](value) | {"schema": older + 1}
    return value
