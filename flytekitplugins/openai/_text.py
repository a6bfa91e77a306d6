"""Texts from outside, as Flyte can hold them."""

from __future__ import annotations

__all__ = ["shortened", "whole"]


def whole(text: str) -> str:
    """The text without half characters: JSON may have a surrogate by itself, protobuf and files cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def shortened(text: str, longest: int) -> str:
    """The text, or so much of it that with an ellipsis it is not longer than that."""
    return text if len(text) <= longest else f"{text[: longest - 1]}\u2026"
