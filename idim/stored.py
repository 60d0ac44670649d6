"""What the files of a store must hold: records of runs, and the questions that they answer. Free of torch.

A store outlives the program that wrote it. It may have been edited, copied, or written by a newer version, so what is read is
checked against one table of fields, and then against itself: a record's name, key and configuration belong together, and its score
to its curve.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from idim.config import ARMS
from idim.errors import first_line, is_unicode

SCHEMA = 1
#: Why a run was made.
KINDS = ("baseline", "search", "sweep", "tune", "check", "rate", "witness", "locked", "single")
#: How a run ends that has a score; and all ends.
SCORED = ("ok", "stopped")
STATUSES = (*SCORED, "diverged", "failed")
#: The range of each metric of ours. A metric that a program brings may have any.
BOUNDS = {
    "accuracy": (0.0, 1.0),
    "token_accuracy": (0.0, 1.0),
    "exact_match": (0.0, 1.0),
    "matthews": (-1.0, 1.0),
    "pearson": (-1.0, 1.0),
    "spearman": (-1.0, 1.0),
    "-loss": (-math.inf, 0.0),
}
#: The largest file that is read, in bytes: a record of a thousand evaluations takes a hundredth of it.
_LARGEST = 1 << 24
_NAME = re.compile(r"[\w.-]+")
_ROUNDING = 1e-6


class Unfit(ValueError):
    """A file of a store that is not what it should be: the message says why."""


def bounds(metric: str) -> tuple[float, float]:
    """The smallest and the largest score that a metric can have."""
    return BOUNDS.get(metric, (-math.inf, math.inf))


def in_bounds(metric: str, score: float) -> bool:
    low, high = bounds(metric)
    return low - _ROUNDING <= score <= high + _ROUNDING


def digest(config: Mapping) -> str:
    """A run's key: a digest of its configuration, less what moves no result: how P's arithmetic is done, which memory it takes."""
    kept = dict(config)
    kept["settings"] = {k: v for k, v in kept["settings"].items() if k not in ("engine", "lean")}
    for name in ("model_fingerprint", "stop"):
        if not kept.get(name):
            kept.pop(name, None)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:20]


def checksum(record: Mapping) -> str:
    """Of all that a record holds, so that an edit shows. No secret: it guards against accidents, not against a forger."""
    kept = {k: v for k, v in record.items() if k != "checksum"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def file_name(name: str) -> str:
    """A question's id as the stem of a file: a long one is cut and ends in a digest, because a file's name has 255 bytes."""
    raw = name.encode()
    if len(raw) <= 180:
        return name
    return raw[:160].decode(errors="ignore") + "-" + hashlib.sha256(raw).hexdigest()[:12]


def is_file_name(name: object) -> bool:
    """Whether it names a file in a folder, and nothing outside of it."""
    return isinstance(name, str) and bool(_NAME.fullmatch(name)) and name not in (".", "..")


def load(path: Path) -> dict:
    """The JSON object in a file. Errors: ``Unfit``, for whatever else the file may be."""
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


def _no_constant(name: str):
    raise Unfit(f"not JSON: {name}")


# The fields. Each has a sentence and a test.

Field = tuple[str, Callable[[object], bool]]


def _is_number(v: object) -> bool:
    return isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e300


def _is_whole(v: object) -> bool:
    return isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 63


def _is_text(v: object) -> bool:
    return isinstance(v, str) and is_unicode(v)


def _maybe(field: Field) -> Field:
    return f"{field[0]} or null", lambda v: v is None or field[1](v)


def _one_of(names) -> Field:
    return f"one of {', '.join(names)}", lambda v: isinstance(v, str) and v in names


NUMBER: Field = ("a finite number", _is_number)
WHOLE: Field = ("a whole number that is not negative", _is_whole)
POSITIVE: Field = ("a whole number of at least 1", lambda v: _is_whole(v) and v > 0)
DURATION: Field = ("seconds", lambda v: _is_number(v) and v >= 0)
TEXT: Field = ("text", _is_text)
BOOL: Field = ("true or false", lambda v: isinstance(v, bool))
OBJECT: Field = ("an object", lambda v: isinstance(v, dict))
TEXTS: Field = ("a list of texts", lambda v: isinstance(v, list) and all(map(_is_text, v)))
KEY: Field = (
    "a key of 20 hexadecimal digits",
    lambda v: isinstance(v, str) and bool(re.fullmatch("[0-9a-f]{20}", v)),
)
KEYS: Field = (
    "a list of distinct keys",
    lambda v: isinstance(v, list) and all(map(KEY[1], v)) and len(set(v)) == len(v),
)
FRACTION: Field = ("a fraction between 0 and 1", lambda v: _is_number(v) and 0 < v < 1)
SHARE: Field = ("a share from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1)
CURVE: Field = (
    "a list of steps and scores",
    lambda v: (
        isinstance(v, list)
        and all(
            isinstance(p, dict)
            and _is_whole(p.get("step"))
            and "score" in p
            and (p["score"] is None or _is_number(p["score"]))
            for p in v
        )
    ),
)
STOPPED: Field = (
    "a side, a bound and a share of the steps",
    lambda v: (
        isinstance(v, dict)
        and set(v) == {"side", "bound", "share"}
        and v["side"] in ("above", "below")
        and _is_number(v["bound"])
        and _is_number(v["share"])
        and 0 < v["share"] <= 1
    ),
)

#: Fields by their path. A question mark ends the path of one that older records lack.
_RECORD: dict[str, Field] = {
    "key": KEY,
    "kind": _one_of(KINDS),
    "status": _one_of(STATUSES),
    "reason": TEXT,
    "study?": TEXT,
    "curve?": TEXT,
    "run_info.started": NUMBER,
    "run_info.config": OBJECT,
    **{f"run_info.config.{name}": TEXT for name in ("model", "task", "protocol", "kind", "split")},
    "run_info.config.arm": _one_of(ARMS),
    "run_info.config.settings": OBJECT,
    "run_info.config.seeds.projection": WHOLE,
    "run_info.config.recipe.learning_rate": NUMBER,
    "run_info.config.recipe.rule": TEXT,
    "train_info.metric": TEXT,
    "train_info.score": _maybe(NUMBER),
    "train_info.untouched": _maybe(NUMBER),
    "train_info.locked?": _maybe(NUMBER),
    "train_info.majority": _maybe(NUMBER),
    "train_info.curve": CURVE,
    "train_info.steps": WHOLE,
    "train_info.seconds": DURATION,
    "train_info.d_total": WHOLE,
    "train_info.adaptation": OBJECT,
    "train_info.splits": OBJECT,
    "train_info.warnings?": TEXTS,
    "train_info.stopped?": _maybe(STOPPED),
    "meta_info.D": POSITIVE,
}
_SUBSPACE: dict[str, Field] = {
    "run_info.config.settings.d": POSITIVE,
    "train_info.adaptation.family": TEXT,
    "train_info.adaptation.scope": TEXT,
    "train_info.adaptation.projection_checksum?": TEXT,
    "train_info.adaptation.projection?": OBJECT,
    "train_info.adaptation.D": POSITIVE,
    "train_info.adaptation.d_theta": POSITIVE,
    "train_info.adaptation.m": WHOLE,
}
_LORA: dict[str, Field] = {
    "run_info.config.settings.rank": POSITIVE,
    "train_info.adaptation.rank": POSITIVE,
    "train_info.adaptation.alpha_rule": TEXT,
    "train_info.adaptation.targets": TEXTS,
}
_QUESTION: dict[str, Field] = {
    "id": TEXT,
    "keys": KEYS,
    "finished": BOOL,
    "study": TEXT,
    "curve": TEXT,
    "model": TEXT,
    "task": TEXT,
    "arm": _one_of(("did", "said", "lora")),
    "projection": TEXT,
    "scope": TEXT,
    "structure": _maybe(TEXT),
    "protocol": TEXT,
    "design?": TEXT,
    "metric": TEXT,
    "D": POSITIVE,
    "m": WHOLE,
    "rule": _one_of(("raw", "chance", "absolute")),
    "absolute": _maybe(NUMBER),
    "strict": BOOL,
    "threshold": FRACTION,
    "left_out": TEXTS,
    "n_scored": WHOLE,
    "steps": POSITIVE,
    "tuned?": BOOL,
    "rate?": ("a rate above 0", lambda v: _is_number(v) and v > 0),
    "loss?": SHARE,
    "handicaps?": (
        "shares by key",
        lambda v: isinstance(v, dict) and all(KEY[1](k) and SHARE[1](s) for k, s in v.items()),
    ),
}


def _check(value: dict, fields: Mapping[str, Field]) -> None:
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


def _same(what: str, a: object, b: object) -> None:
    if a != b:
        raise Unfit(f"{what}: {a!r:.60} is not {b!r:.60}")


def _check_schema(value: dict) -> None:
    schema = value.get("schema", SCHEMA)
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise Unfit(f"schema: expected {SCHEMA}; got {schema!r:.60}")
    if schema > SCHEMA:
        raise Unfit(f"schema {schema} is of a newer idim; this one reads up to {SCHEMA}")


def check_record(record: dict, stem: str) -> dict:
    """The record, if it is whole and at one with itself and its file's name. Errors: ``Unfit``."""
    if "schema" not in record:
        raise Unfit("schema is missing")
    _check_schema(record)
    _check(record, _RECORD)
    _same("the file's name and the key", stem, record["key"])
    config, info, D = record["run_info"]["config"], record["train_info"], record["meta_info"]["D"]
    _same("the digest of the configuration and the key", _digest(config), record["key"])
    if "checksum" in record:
        _same(
            "the checksum of what it holds and the one it was stored with",
            checksum(record),
            record["checksum"],
        )
    _same("kind, in the record and in its configuration", record["kind"], config["kind"])
    _check_scores(record["status"], info, config["recipe"]["rule"])
    settings, adapted = config["settings"], info["adaptation"]
    if record["status"] == "failed" and not adapted:
        return record
    if config["arm"] in ("did", "said"):
        _check(record, _SUBSPACE)
        _same("d_total and the configuration's d", info["d_total"], settings["d"])
        _same(
            "d_total and the sum of d_theta and m",
            info["d_total"],
            adapted["d_theta"] + adapted["m"],
        )
        if info["d_total"] > D + adapted["m"]:
            raise Unfit(
                f"d_total: expected at most D + m, {D + adapted['m']}; got {info['d_total']}"
            )
    elif config["arm"] == "lora":
        _check(record, _LORA)
        _same("rank and the configuration's rank", adapted["rank"], settings["rank"])
    elif info["d_total"] > D:
        raise Unfit(f"d_total: expected at most D, {D}; got {info['d_total']}")
    return record


def _digest(config: dict) -> str:
    try:
        return digest(config)
    except (TypeError, ValueError, AttributeError) as error:
        raise Unfit(f"run_info.config: {first_line(error)}") from None


def _check_scores(status: str, info: dict, rule: str) -> None:
    scores = [p["score"] for p in info["curve"]]
    for score in (info["score"], info["untouched"], info.get("locked"), info["majority"], *scores):
        if score is not None and not in_bounds(info["metric"], score):
            low, high = bounds(info["metric"])
            raise Unfit(
                f"{info['metric']}: expected a score from {low:g} to {high:g}; got {score:g}"
            )
    steps = [p["step"] for p in info["curve"]]
    if steps != sorted(set(steps)):
        raise Unfit("train_info.curve: expected steps that grow")
    if status not in SCORED:
        return
    if info["score"] is None:
        raise Unfit(f"train_info.score: expected a number of a run that ended {status}; got null")
    if (status == "stopped") != bool(info.get("stopped")):
        raise Unfit(
            f"train_info.stopped: expected it of a run that stopped early alone; got {info.get('stopped')!r:.60}"
        )
    if len(scores) < 2:
        raise Unfit("train_info.curve: expected scores before and after training")
    _same("untouched and the curve's first score", info["untouched"], scores[0])
    last = scores[1:][-3:] if rule == "mean_of_last_3" else scores[-1:]
    if None in last or not math.isclose(
        info["score"], sum(last) / len(last), rel_tol=1e-9, abs_tol=1e-12
    ):
        raise Unfit(f"the score {info['score']:g} is not what its curve ends in")


def check_question(question: dict, stem: str) -> dict:
    """The question, if it is whole and has its file's name. Errors: ``Unfit``."""
    _check_schema(question)
    _check(question, _QUESTION)
    if not is_file_name(question["id"]):
        raise Unfit(f"id: expected a file's name; got {question['id']!r:.80}")
    _same("the file's name and the id", stem, file_name(question["id"]))
    if question["rule"] == "absolute" and question["absolute"] is None:
        raise Unfit("absolute: expected a score, as the rule asks; got null")
    if question["arm"] == "lora" and "tuned" not in question:
        raise Unfit("tuned is missing")
    return question


def check_answers(question: dict, records: list[dict]) -> None:
    """Whether these records, which a question names by their keys, can answer it. Errors: ``Unfit``."""
    for r in records:
        config, name = r["run_info"]["config"], f"run {r['key']}"
        for what, a in (
            ("model", config["model"]),
            ("task", config["task"]),
            ("metric", r["train_info"]["metric"]),
        ):
            _same(f"{what} of {name} and of the question", a, question[what])
        if config["arm"] != "lora":  # of which early records count the factors in
            _same(f"D of {name} and of the question", r["meta_info"]["D"], question["D"])
        either = "full", question["arm"]
        arms = {"baseline": ("full",), "tune": either, "check": either}.get(
            r["kind"], (question["arm"],)
        )
        if config["arm"] not in arms:
            raise Unfit(f"arm of {name}: expected {' or '.join(arms)}; got {config['arm']}")
        if (
            question["arm"] != "lora"
            and r["kind"] == "search"
            and not question["m"] < r["train_info"]["d_total"] <= question["D"] + question["m"]
        ):
            raise Unfit(
                f"d of {name}: expected {question['m'] + 1} to {question['D'] + question['m']}; got {r['train_info']['d_total']}"
            )
