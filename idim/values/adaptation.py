"""What each arm says of itself in a record, checked."""

from __future__ import annotations

from idim.values import fields
from idim.values.fields import Field, Unfit, same
from idim.values.spec import Spec
from idim.values.training import Training

#: The arms that a record may be of.
ARMS = ("full", "did", "said", "lora")

_SUBSPACE: dict[str, Field] = {
    "settings.d": fields.POSITIVE,
    "adaptation.family": fields.TEXT,
    "adaptation.scope": fields.TEXT,
    "adaptation.projection_checksum?": fields.TEXT,
    "adaptation.projection?": fields.OBJECT,
    "adaptation.D": fields.POSITIVE,
    "adaptation.d_theta": fields.POSITIVE,
    "adaptation.m": fields.WHOLE,
}
_LORA: dict[str, Field] = {
    "settings.rank": fields.POSITIVE,
    "adaptation.rank": fields.POSITIVE,
    "adaptation.alpha_rule": fields.TEXT,
    "adaptation.targets": fields.TEXTS,
}


def check(spec: Spec, training: Training, D: int) -> None:
    """Check what the run's arm says against what it was asked for.

    Raises:
        Unfit: says what does not fit.
    """
    said = dict(training.adaptation)
    both = {"settings": dict(spec.settings), "adaptation": said}
    if spec.arm in ("did", "said"):
        fields.check(both, _SUBSPACE)
        same("d_total and the configuration's d", training.d_total, spec.settings["d"])
        same("d_total and the sum of d_theta and m", training.d_total, said["d_theta"] + said["m"])
        if training.d_total > D + said["m"]:
            raise Unfit(f"d_total: expected at most D + m, {D + said['m']}; got {training.d_total}")
    elif spec.arm == "lora":
        fields.check(both, _LORA)
        same("rank and the configuration's rank", said["rank"], spec.settings["rank"])
    elif spec.arm != "full":
        raise Unfit(f"arm: expected one of {', '.join(ARMS)}; got {spec.arm!r:.60}")
    elif training.d_total > D:
        raise Unfit(f"d_total: expected at most D, {D}; got {training.d_total}")
