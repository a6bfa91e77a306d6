from decimal import Decimal

import pytest

from flytekitplugins.openai._text import dollars, plural
from flytekitplugins.openai.batch.report.texts import MOST_CHARACTERS, seen, share


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "0 %"),
        (0, 5, "0 %"),
        (5, 5, "100 %"),
        (1, 1_000_000, "< 0.1 %"),
        (999_999, 1_000_000, "> 99.9 %"),
        (1, 1_000, "0.1 %"),
        (1, 3, "33.3 %"),
    ],
)
def test_share_is_never_all_of_less(part, whole, text):
    """One failed request of a million is to be seen."""
    assert share(part, whole) == text


@pytest.mark.parametrize(
    ("amount", "text"), [("0", "$0.00"), ("1234.5", "$1,234.50"), ("0.0099", "$0.0099"), ("0.00031", "$0.00031")]
)
def test_dollars_are_reported_to_the_cent_or_to_two_digits(amount, text):
    """A small batch costs less than a cent, and not nothing."""
    assert dollars(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [(1, "request", "1 request"), (0, "request", "0 requests"), (2_000, "batch", "2,000 batches")],
)
def test_noun_goes_with_its_number(count, noun, text):
    """As people write."""
    assert plural(count, noun) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb", "a\\u200bb"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("a" + "\n" * 50 + "b", "a\n\nb"),
        ("e\u0301 \u200d \u05d0", "e\u0301 \u200d \u05d0"),
        ("x" * 9_999, "x" * (MOST_CHARACTERS - 1) + "\u2026"),
    ],
)
def test_text_from_outside_can_be_seen(text, shown):
    """What hides or reorders others is spelt out; what languages and emoji are written with is left as it is."""
    assert seen(text) == shown
