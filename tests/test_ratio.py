"""The ratio of two d90."""

import dataclasses
import math
import random
from pathlib import Path

import pytest

from idim.answers.ratio import ratio
from idim.answers.summary import summarise
from idim.errors import IdimError
from idim.store import Store

RESULTS = Path(__file__).resolve().parent.parent / "results"


@pytest.fixture(scope="module")
def kept():
    """Records and questions of SAID and DID on SST-2."""
    store = Store(RESULTS / "minilm-glue", create=False)
    found = {q.arm: q for q in store.questions() if q.task == "sst2"}
    return store.all(), found["said"], found["did"]


def test_a_ratio_lies_about_the_ratio_of_the_estimates(kept):
    records, said, did = kept
    told = {q.arm: summarise(records, q).interval.estimate for q in (said, did)}
    found = ratio(records, did, said)
    assert found.low < told["did"] / told["said"] < found.high
    assert found.estimate == pytest.approx(told["did"] / told["said"], rel=0.3)


def test_the_other_way_round_it_is_the_inverse(kept):
    records, said, did = kept
    one, other = ratio(records, did, said), ratio(records, said, did)
    assert one.low * other.high == pytest.approx(1, rel=0.02)
    assert one.estimate * other.estimate == pytest.approx(1, rel=0.02)


def test_of_the_same_question_it_holds_one(kept):
    records, said, _ = kept
    found = ratio(records, said, said)
    assert found.low < 1 < found.high


def rank_search(kept, arm: str, at: float, largest: int = 64):
    """Records and question of a search over ranks whose curve crosses at 2^at."""
    records, question = kept
    full = [r for r in question.of(records) if r.kind == "baseline"]
    first = next(r for r in question.of(records) if r.kind == "search")
    levels = summarise(records, question).levels
    gain, draw, runs = levels.full - levels.chance, random.Random(arm), []
    around = (2 ** (at + step) for step in (-2, -1, -0.5, 0, 0, 0.5, 1, 1.5, 2, 3))
    for i, rank in enumerate(min(max(round(r), 1), largest) for r in around):
        height = 1 / (1 + math.exp(-0.7 * (math.log2(rank) - at) - math.log(9)))
        spec = dataclasses.replace(
            first.spec, arm=arm, settings={**first.spec.settings, "rank": rank}, seeds={"data": i}
        )
        score = levels.chance + gain * (height + draw.gauss(0, 0.008))
        training = dataclasses.replace(first.training, score=score, stopped=None)
        runs.append(dataclasses.replace(first, spec=spec, training=training, key=f"{arm}{i}"))
    keys = tuple(r.key for r in (*full, *runs))
    asked = dataclasses.replace(
        question, id=arm, arm=arm, keys=keys, design="posterior", largest=largest, handicaps={}
    )
    return [*full, *runs], asked


@pytest.fixture(scope="module")
def ranks():
    store = Store(RESULTS / "trec6", create=False)
    return store.all(), next(q for q in store.questions() if q.arm == "lora")


@pytest.mark.parametrize("one", [-4, -1, 0, 1, 3, 4.5])
@pytest.mark.parametrize("other", [-4, -1, 0, 1, 3, 4.5])
def test_a_ratio_is_one_of_sizes_that_can_be_tried(ranks, one, other):
    """Ranks are whole numbers from 1. Where nothing bounds an answer, nothing bounds the ratio."""
    (mine, a), (theirs, b) = rank_search(ranks, "lora", one), rank_search(ranks, "dora", other)
    first, second = (summarise(r, q).answer for r, q in ((mine, a), (theirs, b)))
    found = ratio([*mine, *theirs], a, b)
    sizes = {i / j for i in range(1, 65) for j in range(1, 65)}
    assert min(abs(found.estimate / size - 1) for size in sizes) < 1e-9
    least = first.low and second.high and first.low / second.high
    most = first.high and second.low and first.high / second.low
    if first.low is None or second.high is None:
        assert found.low is None
    else:
        assert least <= found.low + 1e-9 and found.low <= found.estimate
    if first.high is None or second.low is None:
        assert found.high is None
    else:
        assert found.estimate <= found.high <= most + 1e-9


def test_no_ratio_of_a_size_that_cannot_be_tried(ranks):
    (mine, a), (theirs, b) = rank_search(ranks, "lora", 3), rank_search(ranks, "dora", 9)
    assert summarise(theirs, b).answer.estimate is None
    for pair in ((a, b), (b, a)):
        with pytest.raises(IdimError, match="reach the threshold at 64 or below; got 'dora'"):
            ratio([*mine, *theirs], *pair)


def test_a_question_without_runs_is_refused(kept):
    _, said, did = kept
    with pytest.raises(IdimError, match="ratio: expected a search with full runs"):
        ratio([], did, said)
