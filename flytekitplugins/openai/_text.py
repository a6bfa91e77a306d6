"""Texts from outside, as Flyte can hold them."""

from __future__ import annotations

__all__ = ["whole"]


def whole(text: str) -> str:
    """The text without half characters: JSON may have a surrogate by itself, protobuf and files cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
