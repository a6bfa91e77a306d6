"""The order of an account's batches in OpenAI's list, newest first, as far as the list has been read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .snapshot import BatchSnapshot

__all__ = ["ListOrder"]


class ListOrder:
    """A linked list of batch ids: new ones come at its start, and those that OpenAI lists late anywhere."""

    def __init__(self) -> None:
        # None is before the newest batch and after the oldest one.
        self._newer: dict[str | None, str | None] = {None: None}
        self._older: dict[str | None, str | None] = {None: None}
        self._created_at: dict[str, float] = {}

    def record(self, page: Sequence[BatchSnapshot], *, after: str | None, now: float) -> None:
        """Take in a page of the list.

        Args:
            page: Its batches, newest first.
            after: The batch that the page comes after; `None` if it is the first one.
            now: Unix seconds; the age of a batch without a time of creation counts from then.
        """
        if after not in self._older:
            return
        previous = after
        for batch in page:
            if batch.id not in self._older:
                older = self._older[previous]
                self._older[previous], self._older[batch.id] = batch.id, older
                self._newer[older], self._newer[batch.id] = batch.id, previous
                self._created_at[batch.id] = batch.times.get("created_at", now)
            previous = batch.id

    def newer(self, batch_id: str) -> Iterator[str]:
        """The batches that are newer than this one, the next one first; none if it is not known."""
        return self._walk(self._newer, batch_id)

    def older(self, batch_id: str) -> Iterator[str]:
        """The batches that are older than this one, the next one first; none if it is not known."""
        return self._walk(self._older, batch_id)

    def forget_before(self, moment: float) -> None:
        """Drop the oldest batches, up to the first that was created at this time or later, in Unix seconds."""
        while (oldest := self._newer[None]) is not None and self._created_at[oldest] < moment:
            newer = self._newer[oldest]
            self._newer[None], self._older[newer] = newer, None
            del self._newer[oldest], self._older[oldest], self._created_at[oldest]

    def __contains__(self, batch_id: str) -> bool:
        return batch_id in self._created_at

    def __iter__(self) -> Iterator[str]:
        return self._walk(self._older, None)

    @staticmethod
    def _walk(neighbours: dict[str | None, str | None], batch_id: str | None) -> Iterator[str]:
        neighbour = neighbours.get(batch_id)
        while neighbour is not None:
            yield neighbour
            neighbour = neighbours.get(neighbour)
