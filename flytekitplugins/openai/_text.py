"""Texts from outside, as Flyte can hold them, and numbers in words."""

from __future__ import annotations

from decimal import Decimal

__all__ = ["dollars", "plural", "shortened", "tidied", "whole"]

# Longest part of a server's message that goes into a sentence for Flyte's console.
LONGEST_WORDS = 1_000


def whole(text: str) -> str:
    """The text without lone surrogates, which JSON can hold, and protobuf and files cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def shortened(text: str, longest: int) -> str:
    """The text, cut with an ellipsis to at most this length."""
    return text if len(text) <= longest else f"{text[: longest - 1]}\u2026"


def tidied(text: str, *, secret: str = "", longest: int = LONGEST_WORDS) -> str:
    """What somebody said as a part of a sentence: not too long, with no full stop, and without what nobody may read."""
    # The secret is removed first: once the text is cut, a part of it would not be found.
    masked = text.replace(secret, "***") if secret else text
    return shortened(whole(masked).rstrip(". "), longest)


def plural(count: int, noun: str) -> str:
    """`1 request`, `1,000 requests`, `2 batches`."""
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{ending}"


def dollars(amount: Decimal) -> str:
    """`$1,234.50`, `$0.0031`: to the cent, or to two digits if it is less than that."""
    if amount >= Decimal("0.01") or not amount:
        return f"${amount:,.2f}"
    return f"${amount:,.{1 - amount.adjusted()}f}"
