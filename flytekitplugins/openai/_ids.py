"""The form of ids that become part of a path which a key is sent to."""

from __future__ import annotations

import re
from typing import TypeGuard

__all__ = ["is_id"]

# Anything that stays within its segment of the path: compatible servers have ids of many forms, base64 among them.
_ID = re.compile(r"(?!\.{1,2}$)[^\s/?#%\\\x00-\x1f\x7f\ud800-\udfff]+")


def is_id(value: object) -> TypeGuard[str]:
    """Whether a value can be the id of a batch or a file."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None
