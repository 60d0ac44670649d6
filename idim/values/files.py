"""Files of JSON, and names that a file can have."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import NoReturn

from idim.errors import first_line
from idim.values.fields import Json, Unfit

#: The largest file that is read, in bytes. A record of a thousand evaluations takes a hundredth.
_LARGEST = 1 << 24
#: A file's name has at most 255 bytes, with its ending and what a writer adds.
_LONGEST, _KEPT = 180, 160
_NAME = re.compile(r"[\w.-]+")


def load(path: Path) -> Json:
    """Read the JSON object in a file.

    Raises:
        Unfit: whatever else the file may be.
    """
    try:
        if not path.is_file():
            raise Unfit("not a plain file")
        if path.stat().st_size > _LARGEST:
            raise Unfit(f"larger than {_LARGEST:,} bytes")
        found = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_no_constant)
    except Unfit:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise Unfit(f"not JSON: {first_line(error)}") from None
    if not isinstance(found, dict):
        raise Unfit("not a JSON object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise Unfit(f"not JSON: {name}")


def file_name(name: str) -> str:
    """A question's id as the stem of a file. A long one is cut and ends in a digest."""
    raw = name.encode()
    if len(raw) <= _LONGEST:
        return name
    end = hashlib.sha256(raw).hexdigest()[:12]
    return f"{raw[:_KEPT].decode(errors='ignore')}-{end}"


def is_file_name(name: object) -> bool:
    """Whether this names a file in a folder, and nothing outside of the folder."""
    return isinstance(name, str) and bool(_NAME.fullmatch(name)) and name not in (".", "..")
