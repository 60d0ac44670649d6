"""The summary of a question, and of every question in a store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from idim.answers.fit import check_answers
from idim.answers.search import search_summary
from idim.answers.sweep import sweep_summary
from idim.errors import expected
from idim.made import Made, code_of, digest_of
from idim.store import Store
from idim.values.fields import Unfit
from idim.values.question import Question
from idim.values.record import Record
from idim.values.search_summary import SearchSummary
from idim.values.summary import Summary
from idim.values.sweep_summary import SweepSummary


def summarise(records: Iterable[Record], question: Question) -> Summary:
    """What the question's records answer.

    Args:
        records: all at hand; others than the question's are left aside.
        question: with the keys of its runs.
    """
    of = search_summary if question.tuned is None else sweep_summary
    return of(question.of(records), question)


def derive(store: Store, made: Made | None = None) -> list[Summary]:
    """The summary of every question in the store. Writes nothing.

    A question that its runs do not fit is skipped, and counted with the other files that do not
    fit.

    Args:
        store: is read.
        made: what the store has made already: a summary whose question, runs and code did not
            change is read, not derived.

    Cost: two to ten posteriors for each question that is derived.
    """
    records, summaries = made.records if made else store.all(), []
    held = made.marks if made else {}
    for question in store.questions():
        try:
            check_answers(question, records)
            of = digest_of(
                code_of("answers", "search", "values", "arms"),
                question.to_json(),
                [held.get(key, "") for key in question.keys],
            )
            kept = made.kept("summaries", f"{question.id}.json", of) if made else None
            summaries.append(_read(kept, question) if kept else summarise(records, question))
        except Unfit as error:
            store.skip_question(question, error)
    if not summaries:
        raise expected(
            "store",
            "at least one search or sweep",
            f"{store.root} has none" + (", and files that do not fit" if store.skipped else ""),
        )
    return summaries


def _read(data: bytes, question: Question) -> Summary:
    """The summary that ``keep`` wrote."""
    kind = SearchSummary if question.tuned is None else SweepSummary
    return replace(kind.from_json(json.loads(data)), keys=frozenset(question.keys))


def keep(store: Store, summaries: Iterable[Summary], made: Made | None = None) -> None:
    """Write the summaries into the store, and note in ``made`` what they were made of."""
    for s in summaries:
        text = json.dumps(s.to_json(), indent=1, allow_nan=False) + "\n"
        (made or store).keep("summaries", f"{s.id}.json", text.encode())
    if made:
        made.close()
