"""Texts from outside, as Flyte can hold them, and numbers in words."""

from __future__ import annotations

__all__ = ["plural", "shortened", "tidied", "whole"]

# What a server says goes into a sentence of ours, and that into Flyte's console.
LONGEST_WORDS = 1_000


def whole(text: str) -> str:
    """The text without half characters: JSON may have a surrogate by itself, protobuf and files cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def shortened(text: str, longest: int) -> str:
    """The text, or so much of it that with an ellipsis it is not longer than that."""
    return text if len(text) <= longest else f"{text[: longest - 1]}\u2026"


def tidied(text: str, *, secret: str = "", longest: int = LONGEST_WORDS) -> str:
    """What somebody said as a part of a sentence: not too long, with no full stop, and without what nobody may read."""
    # First of all without the secret: a part of it would not be found any more.
    masked = text.replace(secret, "***") if secret else text
    return shortened(whole(masked).rstrip(". "), longest)


def plural(count: int, noun: str) -> str:
    """`1 request`, `1,000 requests`, `2 batches`."""
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{ending}"
