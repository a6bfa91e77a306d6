"""What stands on the page: numbers as people write them, and texts from outside so that all of them can be seen."""

from __future__ import annotations

import re

from flytekitplugins.openai._text import shortened

__all__ = ["seen", "share"]

# Characters that are shown of a text from outside.
MOST_CHARACTERS = 1_000
_LINE_ENDS = re.compile(r"\r\n?")
_GAPS = re.compile(r"\n{3,}")
# These are invisible or reorder text; a lone surrogate cannot even be written.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff"
    "\U000e0000-\U000e007f]"
)


def seen(value: object) -> object:
    """A value for the page: not too long, and with characters spelt out that would hide or reorder others."""
    if hasattr(value, "__html__"):
        return value
    text = _GAPS.sub("\n\n", _LINE_ENDS.sub("\n", str(value)))
    return _UNSEEN.sub(_spelt_out, shortened(text, MOST_CHARACTERS))


def _spelt_out(match: re.Match[str]) -> str:
    number = ord(match.group())
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def share(part: float, whole: float) -> str:
    """`98.1 %`; never 100 % of less than all, and never 0 % of something."""
    percent = 100 * part / whole if whole else 0
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %" if percent not in (0, 100) else f"{percent:.0f} %"
