"""OpenAI's tokenizers, if the extra `tokens` is installed. Their tables come with it, and nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ._text import whole

__all__ = ["counts_exactly", "tokenizer_of"]

# https://github.com/openai/tiktoken/blob/main/tiktoken/model.py: every later model has the newer one.
NEWER, OLDER = "o200k_base", "cl100k_base"
WITH_OLDER = ("gpt-4-", "gpt-4:", "gpt-3.5-", "gpt-35-", "text-embedding-", "davinci-002", "babbage-002")
FINE_TUNED = "ft:"


def counts_exactly() -> bool:
    """Whether a tokenizer is installed."""
    try:
        import quicktok  # noqa: F401, PLC0415 (whether it can be imported is the question)
    except ImportError:
        return False
    return True


def tokenizer_of(model: str | None) -> Callable[[str], int] | None:
    """A function that counts the tokens of a text as a model does; `None` if no tokenizer is installed."""
    name = (model or "").removeprefix(FINE_TUNED)
    return _counter(OLDER if name == "gpt-4" or name.startswith(WITH_OLDER) else NEWER)


@cache
def _counter(encoding: str) -> Callable[[str], int] | None:
    try:
        import quicktok  # noqa: PLC0415 (an extra, and its tables take a while to load)
    except ImportError:
        return None
    counted: Callable[[str], int] = quicktok.get_encoding(encoding).count

    def count(text: str) -> int:
        try:
            return counted(text)
        except TypeError:
            # Half of a surrogate pair, which JSON can hold and UTF-8 cannot.
            return counted(whole(text))

    return count
