"""The learning rate at each size: which tuning runs to make, and the law that is read off them all.

Full fine-tuning is tuned first. Its best rate and the law (search/surface.py) say where the best rates
of a subspace lie; a few runs at two sizes, and later at d90 itself, settle the rest. Every run is on
the tuning split, so no rate is chosen by what it scores on the measuring one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import projections
from idim import arms
from idim.protocols import RATE_EXPONENTS, TUNE_SHARE
from idim.search.surface import Law, Surface, Trial
from idim.search.threshold import score_error
from idim.store import Store
from idim.study import Study
from idim.values.purpose import Purpose
from idim.values.record import Record

#: Rates tried at a size, as multiples of the law's, and how far beyond what was tried a rate may lie.
_TRIED, _BEYOND = (1 / 3, 1.0, 3.0), 3.0
#: A size where no rate reaches this share of what full fine-tuning gains says nothing of rates.
_LEARNS = 0.25
#: Runs at one size beyond the first three, while the best rate lies outside those tried.
_MORE = 3
#: e-folds: a best rate that is known this well is not looked for beyond those tried.
_KNOWN = 0.4
#: The first size, in square roots of D; the second lies this factor below it, or above.
_FIRST, _STRIDE = 4.0, 8
#: A tuning split of fewer examples than this takes several seeds a rate, up to so many.
_EXAMPLES, _SEEDS = 400, 4
#: Runs that share examples and seeds differ by less than each of them errs.
_PAIRED = 0.7


@dataclass(frozen=True)
class Rates:
    """``rate(size)``, what it is expected to cost there, and what was tried to find out."""

    rate: Callable[[int], float]
    #: The share of full's gain that a run at (size, rate) loses to one at the best rate.
    loss: Callable[[int, float], float] = lambda size, rate: 0.0
    #: Sizes at which some rate learned, and the factor that the rate may be off by, 68 times in 100.
    learned: tuple[int, ...] = ()
    spread: Callable[[int], float] = lambda size: 1.0
    trials: tuple[Trial, ...] = field(default=(), repr=False)


def full_rate(study: Study, store: Store) -> tuple[float, list[Trial]]:
    """The rate of full fine-tuning, and the runs it was chosen by."""
    given, default = study.config.learning_rate, study.recipe.learning_rate
    if not _tunes(study) or given:
        return default, []
    tried: dict[float, float] = {}
    wanted = [f * default for f in _TRIED]
    while wanted:
        tried |= _scores(study, store, arms.FULL, 0, wanted)
        surface = Surface(_trials(tried, None), default, noise=_noise(study, max(tried.values())))
        best = surface.best(None)
        wanted = _outside(tried, best)
    rate = _rounded(_within(math.exp(best[0]), tried))
    study.watch.say(
        f"full: rate {rate:g}, from {len(tried)} runs of {_budget(study)} steps on the tuning split"
    )
    return rate, _trials(tried, None)


def subspace_rates(
    study: Study, store: Store, arm: str, full: float, trials: Sequence[Trial]
) -> Rates:
    """Of did and said alike: given, by law, or tuned at two sizes."""
    m = study.m(arm)
    place, shift = _placed(study, m)
    if study.given_rate(arm) or study.protocol.rate_law == "constant":
        one = study.given_rate(arm) or study.protocol.rate
        return Rates(lambda size: one)
    if RATE_EXPONENTS[study.kind] == 0:
        # The toy has one well-scaled batch, which serves as every split.
        return Rates(lambda size: full)
    known = bool(study.config.learning_rate)
    found, learned, size = list(trials), [], _clipped(round(_FIRST * math.sqrt(study.D)), study, m)
    if not _tunes(study):
        return replace(
            _law(found, full, known, place, shift, {}),
            rate=lambda size: _rounded(study.law(arm)(size)),
        )
    reference = _reference(study, store, full)
    noise = _noise(study, reference)
    tried: dict[int, dict[float, float]] = {}
    while size not in tried:
        law = Surface(found, full, known=known, noise=noise)
        wanted = [_rounded(f * math.exp(law.best(place(size))[0] + shift)) for f in _TRIED]
        tried[size] = {}
        while wanted:
            tried[size] |= _scores(study, store, arm, size, wanted, reference)
            here = [Trial(place(size), math.log(r) - shift, s) for r, s in tried[size].items()]
            best, error = Surface([*found, *here], full, known=known, noise=noise).best(place(size))
            wanted = (
                _outside(tried[size], (best + shift, error))
                if max(tried[size].values()) >= _LEARNS
                else []
            )
        found += here
        if max(tried[size].values()) >= _LEARNS:
            learned.append(size)
            if len(learned) == 2:
                break
            size = _clipped(size // _STRIDE, study, m)
            if size in tried:
                break
        else:
            top = max(tried[size].values())
            study.watch.say(
                f"{arm}: no rate learns more than {max(top, 0):.0%} of full's gain at d = {size} in "
                f"{_budget(study)} steps; larger d are tried"
            )
            larger = [d for d in tried if d > size]
            size = _clipped(size * _STRIDE, study, m) if not larger and not learned else size
    if not learned:
        study.watch.say(
            f"{arm}: no d that was tried learns while tuning; the rate is the law's, and uncertain"
        )
    every = {r: s for d in tried for r, s in tried[d].items()}
    rates = _law(found, full, known, place, shift, every, tuple(learned), noise)
    for d in learned:
        study.watch.say(
            f"{arm}: rate {rates.rate(d):g} at d = {d}, give or take a factor {rates.spread(d):.2g}"
        )
    return rates


def refined(study: Study, store: Store, arm: str, full: float, rates: Rates, size: int) -> Rates:
    """With three more runs at one size, on the tuning split, at the whole budget."""
    place, shift = _placed(study, study.m(arm))
    reference = _reference(study, store, full)
    wanted = [_rounded(f * rates.rate(size)) for f in (0.5, 1.0, 2.0)]
    scores = _scores(study, store, arm, size, wanted, reference, whole=True)
    found = [
        *rates.trials,
        *(Trial(place(size), math.log(r) - shift, s) for r, s in scores.items()),
    ]
    tried = {math.exp(t.log_rate + shift): t.share for t in found if t.place is not None}
    known = bool(study.config.learning_rate)
    return _law(
        found, full, known, place, shift, tried, (*rates.learned, size), _noise(study, reference)
    )


def rank_rates(
    study: Study, store: Store, arm: str, full: float, trials: Sequence[Trial], ranks: Sequence[int]
) -> Rates:
    """Of LoRA over its rank: given, a multiple of full's, or tuned at the smallest, middle and largest rank."""
    given, prior = study.given_rate(arm), Law(*dataclasses.astuple(arms.ARMS[arm].prior))
    if given or not _tunes(study):
        settings = study.settings(arm)
        law = arms.ARMS[arm].rate
        return Rates(lambda size: given or law(full, size, study.facts, settings))
    place = lambda rank: -math.log(rank)  # noqa: E731
    found, reference = list(trials), _reference(study, store, full)
    noise = _noise(study, reference)
    for rank in (
        sorted({ranks[0], ranks[len(ranks) // 2], ranks[-1]})
        if study.protocol.anchors > 1
        else (ranks[len(ranks) // 2],)
    ):
        known = Surface(found, full, prior, noise=noise)
        tried: dict[float, float] = {}
        wanted = [_rounded(f * math.exp(known.best(place(rank))[0])) for f in _TRIED]
        while wanted:
            tried |= _scores(study, store, arm, rank, wanted, reference)
            here = [Trial(place(rank), math.log(r), s) for r, s in tried.items()]
            wanted = _outside(
                tried, Surface([*found, *here], full, prior, noise=noise).best(place(rank))
            )
        found += here
    surface = Surface(found, full, prior, noise=noise)
    return Rates(lambda rank: _rounded(math.exp(surface.best(place(rank))[0])))


def _law(
    trials: Sequence[Trial],
    full: float,
    known: bool,
    place: Callable[[int], float],
    shift: float,
    tried: dict[float, float],
    learned: tuple[int, ...] = (),
    noise: float = 0.0,
) -> Rates:
    surface = Surface(trials, full, known=known, noise=noise)
    # At d = D an orthonormal P is a rotation, so what full fine-tuning learns at was tried too.
    kept = {r: s for r, s in tried.items() if s >= _LEARNS}
    kept = {full: 1.0, **kept} if kept else {}

    def rate(size: int) -> float:
        return _rounded(_within(math.exp(surface.best(place(size))[0] + shift), kept))

    return Rates(
        rate,
        lambda size, used: surface.loss(place(size), math.log(used) - shift),
        learned,
        lambda size: math.exp(surface.best(place(size))[1]),
        tuple(trials),
    )


def _placed(study: Study, m: int) -> tuple[Callable[[int], float], float]:
    """log(D / d) of a size, and by how much the scope of P's columns moves all log rates."""
    # Unit columns in each of T tensors give P a norm sqrt(T) times as large: the same move takes a smaller rate.
    tensors = len(study.layout.slices) if study.protocol.scope == projections.TENSOR else 1
    return lambda size: math.log(study.D / (size - m)), -0.5 * math.log(tensors)


def _clipped(size: int, study: Study, m: int) -> int:
    return max(m + 4, min(size, study.D + m))


def _tunes(study: Study) -> bool:
    return study.protocol.tune and bool(study.task.sizes()) and RATE_EXPONENTS[study.kind] > 0


def _budget(study: Study) -> int:
    return study.spec(Purpose.TUNE, arms.FULL, 0, 0, 1.0, budget=TUNE_SHARE).recipe.max_steps


def _split(study: Study) -> str:
    return "tune" if study.task.sizes().get("tune") else "measure"


def _scores(
    study: Study,
    store: Store,
    arm: str,
    size: int,
    rates: Sequence[float],
    reference: float | None = None,
    whole: bool = False,
) -> dict[float, float]:
    """Scores at these rates in shares of what full fine-tuning gains on the tuning split; raw for full itself."""
    budget, n = 1.0 if whole else TUNE_SHARE, _seeds(study)
    specs = [
        study.spec(Purpose.TUNE, arm, size, i, r, _split(study), budget)
        for r in rates
        for i in range(n)
    ]
    records = study.execute(store, specs, study.curve(arm))
    chance = _chance(study, records)
    scores = [0.0 if r.score is None else r.score - chance for r in records]
    above = {r: fmean(scores[k * n : (k + 1) * n]) for k, r in enumerate(rates)}
    return {r: max(-0.1, v / reference) if reference else v for r, v in above.items()}


def _seeds(study: Study) -> int:
    """Seeds a rate, the same for every rate: a small split tells rates apart only by several."""
    return max(1, min(_SEEDS, math.ceil(_EXAMPLES / study.task.sizes()[_split(study)])))


def _noise(study: Study, gain: float) -> float:
    """What the mean score of one rate errs by at least, in shares of full's gain on the tuning split."""
    n = study.task.sizes()[_split(study)] * _seeds(study)
    middling = score_error(0.9, n, study.task.metric)
    return _PAIRED * middling / max(gain, 1e-9)


def _chance(study: Study, records: Sequence[Record]) -> float:
    """Of the split that rates are chosen on."""
    untouched = fmean(r.training.untouched or 0.0 for r in records)
    guess = study.task.guess(_split(study))
    return untouched if guess is None else max(untouched, guess)


def _reference(study: Study, store: Store, full: float) -> float:
    """What full fine-tuning gains over chance on the tuning split, within the budget of a tuning run."""
    scores = _scores(study, store, arms.FULL, 0, [full])
    return max(*scores.values(), 1e-9)


def _trials(tried: dict[float, float], place: float | None) -> list[Trial]:
    top = max(*tried.values(), 1e-9)
    return [Trial(place, math.log(r), max(-0.1, s / top)) for r, s in tried.items()]


def _outside(tried: dict[float, float], best: tuple[float, float]) -> list[float]:
    """A rate beyond those tried, where the best one may lie there: ``best`` is its log, and the error of that."""
    if len(tried) >= len(_TRIED) + _MORE:
        return []
    low, high = min(tried), max(tried)
    top, (middle, error) = max(tried, key=lambda r: tried[r]), best
    error = error if error > _KNOWN else 0.0
    under, over = math.log(low) - (middle - error), middle + error - math.log(high)
    if top == low or under > max(0.0, over):
        return [_rounded(low / 3)]
    if top == high or over > 0:
        return [_rounded(high * 3)]
    return []


def _within(rate: float, tried: dict[float, float]) -> float:
    """Not further than a factor of three from rates that were tried and learned."""
    return min(max(rate, min(tried) / _BEYOND), max(tried) * _BEYOND) if tried else rate


def _rounded(rate: float) -> float:
    """To three digits, so that a last bit that differs between machines asks for no other run."""
    return float(f"{rate:.3g}")
