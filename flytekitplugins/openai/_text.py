"""Texts from outside, as Flyte can hold them, and numbers in words."""

from __future__ import annotations

import re
from decimal import Decimal

__all__ = ["dollars", "one_line", "plural", "printable", "shortened", "tidied", "whole"]

# Longest part of a server's message that goes into a sentence for Flyte's console.
LONGEST_WORDS = 1_000
# Control characters but for tabs and newlines: a terminal obeys them, and Flyte's database takes no NUL. And marks that
# show a text in another order than it has. https://trojansource.codes
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def whole(text: str) -> str:
    """The text without lone surrogates, which JSON can hold, and protobuf and files cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def printable(text: str) -> str:
    """The text without control characters, for which it has U+FFFD."""
    return UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The text as one line of a log, in which it can begin no other."""
    return " ".join(printable(text).splitlines())


def shortened(text: str, longest: int) -> str:
    """The text, cut with an ellipsis to at most this length."""
    return text if len(text) <= longest else f"{text[: longest - 1]}\u2026"


def tidied(text: str, *, secret: str = "", longest: int = LONGEST_WORDS) -> str:
    """What somebody said as a part of a sentence: short, and without a full stop, control characters or the secret."""
    # The secret is removed first: once the text is cut, a part of it would not be found.
    masked = text.replace(secret, "***") if secret else text
    return shortened(printable(whole(masked)).rstrip(". "), longest)


def plural(count: int, noun: str) -> str:
    """`1 request`, `1,000 requests`, `2 batches`."""
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{ending}"


def dollars(amount: Decimal) -> str:
    """`$1,234.50`, `$0.0031`: to the cent, or to two digits if it is less than that."""
    if amount >= Decimal("0.01") or not amount:
        return f"${amount:,.2f}"
    return f"${amount:,.{1 - amount.adjusted()}f}"
