"""The hub of models: whether it answers, and what to do where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

_SECONDS = 5.0


@lru_cache(maxsize=1)
def answers() -> bool:
    """Whether the hub can be reached, asked once: without it transformers tries for half a minute
    before it says so."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined] # lazily exported

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_SECONDS)
    except Exception:  # of a connection, a proxy or a name
        return False
    return True


@contextmanager
def unanswered_is_offline() -> Iterator[None]:
    """Within it a hub that does not answer is not asked again: what was fetched before is found,
    anything else is missed at once."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not answers()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def quiet() -> Iterator[None]:
    """transformers tells of every weight that it misses; here that is expected."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
