"""The rows of the tables that requests were made of, for a responder that answers by the row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .exchange import Reply, Request, Responder

__all__ = ["RowBook"]


class RowBook:
    """The row of each request that this process made of one. A request is known by its id and its body."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Mapping[str, Any]] = {}

    def add(self, request: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Note the row of a request, a line of a batch's input."""
        self._rows[_key(request["custom_id"], request["body"])] = row

    def clear(self) -> None:
        """Forget all rows."""
        self._rows.clear()

    def shown_to(self, responder: Responder) -> Responder:
        """The responder, with each request's row in its request."""

        def respond(request: Request) -> str | Reply:
            row = self._rows.get(_key(request.custom_id, request.body)) if self._rows else None
            return responder(request if row is None else replace(request, row=row))

        return respond


def _key(custom_id: str, body: Mapping[str, Any]) -> tuple[str, str]:
    return custom_id, json.dumps(body, sort_keys=True)
