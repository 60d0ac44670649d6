"""The conductor: baselines, rates, then the search or the sweep, then the checks."""

from __future__ import annotations

import math

from idim import arms, models
from idim.config import Config
from idim.errors import expected, one_of
from idim.protocols import ANCHOR_STRIDE
from idim.report.summary import baseline_of, points_of, summarise, summarise_sweep, target_of, too_few
from idim.search.design import ADAPTIVE, DESIGNS, Limits, Stop
from idim.search.threshold import signal
from idim.store import Store
from idim.study import Study, Watcher


def check_search(study: Study) -> None:
    arm, c = study.config.arm, study.config
    if arm not in ("did", "said"):
        raise one_of("--arm", ("did", "said"), arm)
    m, most = study.m(arm), study.D + study.m(arm)
    for d in c.grid:
        if not m < d <= most:
            raise expected("--grid", f"values of d from {m + 1} to {most} ({m} scales, D = {study.D})", d)
    design = study.protocol.design
    if (design == "grid") != bool(c.grid):
        raise expected("--grid", "values of d with --design grid, and with no other", f"--design {design}")
    if study.task.metric == "-loss" and c.absolute is not None and c.absolute > 0:
        raise expected("--absolute", "minus a loss, which is not above 0", c.absolute)
    if design in ADAPTIVE and c.repeats:
        raise expected("--repeats", f"a bracket or a grid; the design {design} draws fresh seeds for every run and chooses where to run", c.repeats)
    if design in ADAPTIVE and study.protocol.baselines < 2:
        raise expected("--baselines", "at least 2 for an interval: one run has no error to carry", study.protocol.baselines)


def search(config: Config, watcher: Watcher = Watcher()) -> dict:
    """Measure d90: the summary as one JSON-ready object. Every run is kept in ``config.out`` as it finishes."""
    study = Study(config, watcher)
    check_search(study)
    store = Store(config.out)
    arm, protocol = config.arm, study.protocol
    question = study.ask(store, arm)
    base = baseline_of(study.baselines(store))

    def answer(finished: bool) -> dict:
        study.note(store, finished=finished)
        return summarise(store.all(), question) | {"id": question["id"]}

    if too_few(base, question):
        return answer(True)
    target = target_of(base, question)
    watcher.say(f"full {base.mean:.4f}, chance {base.chance:.4f}: a d passes from {target.tau:.4f} ({protocol.rule} rule)")
    if base.chance >= target.tau or not signal(base, question["n_scored"], question["metric"]):
        return answer(True)
    limits = _limits(study, arm)
    rate = study.rate(store, arm, _anchors(study, arm, limits), base)
    history = []
    while not isinstance(step := DESIGNS[protocol.design](history, target, limits), Stop):
        specs = [
            study.spec("search", arm, run.d, run.repeat, rate(run.d), stop=(target.tau, base.chance) if run.far and protocol.early else None)
            for run in step.runs
        ]
        history += points_of(study.execute(store, specs, study.curve(arm)))
    watcher.say(step.reason)
    found = answer(step.finished)
    # A resumed search may know its checks already.
    if found["verdict"] in ("reached", "budget_limited"):
        low, d = found["answer"]["low"], found["answer"]["estimate"]
        study.note(store, rate=rate(d))
        specs = []
        if protocol.budget_check and low:
            specs.append(study.spec("check", arm, low, 0, rate(low), budget=2.0))
        if protocol.rate_check:
            specs += [study.spec("rate", arm, d, 0, f * rate(d)) for f in (0.5, 2.0)]
        if protocol.locked and "locked" in study.task.sizes():
            specs.append(study.spec("locked", arm, d, 0, rate(d), split="locked"))
        study.execute(store, specs, study.curve(arm))
    return answer(step.finished)


def _anchors(study: Study, arm: str, limits: Limits) -> list[int]:
    tried = [min(limits.start * ANCHOR_STRIDE**i, limits.largest) for i in range(study.protocol.anchors)]
    return list(dict.fromkeys(tried))


def sweep(config: Config, watcher: Watcher = Watcher()) -> dict:
    """Score against LoRA rank, under the same budget and evaluation rule as a search."""
    study = Study(config, watcher)
    ranks = sorted(config.ranks or (1, 2, 4, 8, 16))
    _lora_fits(study, max(ranks))
    store = Store(config.out)
    question = study.ask(store, "lora", tuned=study.protocol.tune and not config.lora_learning_rate)
    base = baseline_of(study.baselines(store))
    middle = ranks[len(ranks) // 2]
    # One rate does not fit all ranks: what is best at 4 can be far too high at 16.
    rate = study.rate(store, "lora", sorted({ranks[0], middle, ranks[-1]}) if study.protocol.anchors > 1 else (middle,), base)
    specs = [study.spec("sweep", "lora", r, i, rate(r)) for r in ranks for i in range(study.protocol.repeats)]
    study.execute(store, specs, study.curve("lora"))
    study.note(store, finished=True)
    return summarise_sweep(store.all(), question) | {"id": question["id"]}


def train_one(config: Config, watcher: Watcher = Watcher()) -> dict:
    """One run of one arm: its record."""
    study = Study(config, watcher)
    arm = config.arm
    size = {"full": 0, "lora": config.rank}.get(arm, config.d)
    if arm == "lora":
        _lora_fits(study, size)
    elif arm != "full" and not study.m(arm) < size <= study.D + study.m(arm):
        raise expected("--d", f"a number from {study.m(arm) + 1} to {study.D + study.m(arm)} ({study.m(arm)} scales, D = {study.D})", size)
    if config.save and not models.is_pretrained(config.model):
        raise expected("--save", "a transformers model, whose start can be loaded again", config.model)
    store = Store(config.out)
    rate = study.given_rate(arm) or study.law(arm)(size)
    return study.execute(store, [study.spec("single", arm, size, 0, rate)], study.curve(arm), config.save)[0]


def _limits(study: Study, arm: str) -> Limits:
    m, D, c, p = study.m(arm), study.D, study.config, study.protocol
    # A quarter of sqrt(D), the order of published values, as a power of two.
    start = 2 ** max(1, round(math.log2(math.sqrt(D) / 4)))
    smallest = m + 1
    return Limits(smallest, D + m, max(start, smallest), p.repeats, p.ratio, c.max_runs, c.workers, tuple(sorted(c.grid)))


def _lora_fits(study: Study, rank: int) -> None:
    loaded = models.load(study.config.model, study.task.classes, 0, study.task.head)
    settings = {"rank": rank, "targets": list(study.config.targets), "lora_alpha": study.config.lora_alpha, "seed_projection": 0}
    arms.build("lora", loaded.module, settings)
