"""Retrieves, lists, creates and cancels an account's batches at OpenAI, and raises only our own errors."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from flytekit import lazy_module

from flytekitplugins.openai._arguments import call_arguments
from flytekitplugins.openai._client import Account, async_client, came_over_http
from flytekitplugins.openai._errors import check_id, explained, is_broken, raise_error_in
from flytekitplugins.openai._ids import is_id
from flytekitplugins.openai._metrics import call_to_openai
from flytekitplugins.openai.exceptions import RefusedBatchError, RefusedError, UnavailableError

from .policy.batch_phase import is_live
from .policy.creation_body import check_request
from .shared_view import Listed, SharedView
from .state.batch_list import BatchList, Page, StaleListError
from .state.snapshot import BatchSnapshot

if TYPE_CHECKING:
    import openai
    from openai.resources.batches import AsyncBatches
else:
    openai = lazy_module("openai")

__all__ = ["BatchesAPI"]

T = TypeVar("T")


class _AccountLists:
    """What is kept of an account's list from one call to the next."""

    def __init__(self) -> None:
        self.batch_list = BatchList()
        self.shared_view = SharedView(self.batch_list)


_lists: WeakKeyDictionary[openai.AsyncOpenAI, _AccountLists] = WeakKeyDictionary()


class BatchesAPI:
    """One account's batches and files. An instance is used within one call of the connector."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._client = async_client(account)
        self._lists = _lists.get(self._client) or _lists.setdefault(self._client, _AccountLists())

    async def find_shared(self, batch_id: str, seen: BatchSnapshot | None) -> Listed | None:
        """A running batch as OpenAI's list showed it less than 10 seconds ago; `None` if it should be retrieved.

        Args:
            batch_id: The batch.
            seen: The batch as it was seen last.
        """
        return await self._lists.shared_view.find(batch_id, seen, self._page)

    async def retrieve(self, batch_id: str) -> BatchSnapshot:
        """A batch as it is now.

        Raises:
            RefusedError: OpenAI refuses the key, or does not know the batch.
            UnavailableError: OpenAI did not answer, or not with a batch.
        """
        doing = f"look up batch {batch_id!r}"
        answer = await self._read("batches.retrieve", doing, lambda client: client.batches.retrieve(batch_id))
        # It goes by the id it was asked for, whatever the answer says.
        batch = replace(self._snapshot(answer, doing, otherwise=404), id=batch_id)
        self._lists.shared_view.note_look_up(batch)
        return batch

    async def list_by_node(self, node: str) -> list[BatchSnapshot]:
        """All batches that were made for a node of Flyte's, as they were when they were listed first.

        Raises:
            RefusedError: OpenAI refuses to list batches.
            UnavailableError: The list could not be read.
        """
        try:
            found = await self._lists.batch_list.batches_of(node, self._page)
        except StaleListError as error:
            sentence = f"Could not read the list of batches: it is out of date ({error})."
            raise UnavailableError(sentence, reason="stale") from None
        return found

    async def create(self, request: Mapping[str, Any]) -> BatchSnapshot:
        """Create a batch. Sent again after a lost reply, the request would make a second one.

        Raises:
            RefusedBatchError: OpenAI will not run this.
            UnavailableError: OpenAI did not answer, or not with a batch; one may have been made even so.
        """
        doing = f"create a batch from file {request['input_file_id']!r}"
        batches = self._client.batches
        try:
            check_request(request)
        except ValueError as error:
            # It may come from metadata that anyone wrote.
            raise RefusedBatchError(str(error)) from None
        try:
            with explained(self._account, doing), call_to_openai("batches.create"):
                answer = await batches.create(**call_arguments(request, batches.create))
        except RefusedError as refusal:
            raise RefusedBatchError(str(refusal), answer=refusal.answer) from None
        batch_id = getattr(answer, "id", None)
        if batch_id and not is_id(batch_id):
            # It could not be read again from the metadata; and without it, each poll would make another batch.
            raise RefusedBatchError(f"Could not {doing}: {batch_id!r} cannot be the id of a batch.")
        try:
            return self._snapshot(answer, doing, otherwise=400)
        except RefusedError as refusal:
            raise RefusedBatchError(str(refusal), answer=refusal.answer) from None

    async def cancel(self, batch_id: str, *, listed: bool = False) -> bool:
        """Ask for a batch to stop; `False` when it is over already, or gone.

        Args:
            batch_id: The batch.
            listed: It is known not to be gone.

        Raises:
            RefusedError: OpenAI refuses, and the batch is not over.
            UnavailableError: OpenAI did not answer.
        """
        batches = self._client.batches
        with explained(self._account, f"cancel batch {batch_id!r}"):
            try:
                with call_to_openai("batches.cancel"):
                    await batches.cancel(batch_id)
            except openai.ConflictError:
                return False
            except openai.NotFoundError:
                if listed:
                    raise
                return False
            except openai.BadRequestError:
                # Some compatible servers say 400 where OpenAI says 409.
                if is_live(await self.retrieve(batch_id)):
                    raise
                return False
            return True

    async def sees_file(self, file_id: str) -> bool:
        """Whether this account can see a file.

        Raises:
            RefusedError: OpenAI refuses the key.
            UnavailableError: OpenAI did not answer.
        """
        doing = f"look up file {file_id!r}"
        check_id(file_id, doing)
        try:
            answer = await self._read("files.retrieve", doing, lambda client: client.files.retrieve(file_id))
            raise_error_in(answer, self._account, doing, otherwise=404)
        except RefusedError as refusal:
            if refusal.answer is not None and refusal.answer.status == 404:
                return False
            raise
        return True

    async def delete_file(self, file_id: str) -> None:
        """Delete a file; one that is gone already is left alone.

        Raises:
            RefusedError: OpenAI refuses the key.
            UnavailableError: OpenAI did not answer.
        """
        doing = f"delete file {file_id!r}"
        check_id(file_id, doing)
        with (
            explained(self._account, doing),
            contextlib.suppress(openai.NotFoundError),
            call_to_openai("files.delete"),
        ):
            await self._client.files.delete(file_id)

    async def _page(self, limit: int, after: str | None) -> Page:
        doing = "read the list of batches"
        where = {"limit": limit, **({"after": after} if after else {})}
        answer = await self._read("batches.list", doing, lambda client: _listing(client.batches, where))
        raise_error_in(answer, self._account, doing, otherwise=400)
        listed = answer.get("data") if isinstance(answer, Mapping) else None
        if not isinstance(listed, list):
            raise UnavailableError(f"Could not {doing}: the response was not a list.", reason="unreadable")
        has_more = answer.get("has_more")
        entries = {batch["id"]: batch for batch in listed if isinstance(batch, Mapping) and is_id(batch.get("id"))}
        if listed and not entries:
            # Taken for an empty list, it would have every batch made a second time.
            raise UnavailableError(f"Could not {doing}: what it lists are not batches.", reason="unreadable")
        return Page(
            entries,
            has_more if isinstance(has_more, bool) else len(listed) >= limit,
        )

    async def _read(self, name: str, doing: str, call: Callable[[openai.AsyncOpenAI], Awaitable[T]]) -> T:
        """What a GET answers; it is sent again at once, on a new connection, if the one that was kept had died."""
        with explained(self._account, doing):
            try:
                with call_to_openai(name):
                    return await call(self._client)
            except openai.APIConnectionError as error:
                if not is_broken(error):
                    raise
            with call_to_openai(name):
                return await call(async_client(self._account, fresh=True))

    def _snapshot(self, answer: Any, doing: str, *, otherwise: int) -> BatchSnapshot:
        # The SDK hands on whatever a server said, be it a text, a list or null; and warns of types that are not
        # OpenAI's.
        with explained(self._account, doing):
            batch = BatchSnapshot.from_dict(answer.to_dict(warnings=False) if hasattr(answer, "to_dict") else {})
        if is_id(batch.id):
            return batch
        raise_error_in(answer, self._account, doing, otherwise=otherwise)
        raise UnavailableError(f"Could not {doing}: the response was not a batch.", reason="unreadable")


async def _listing(batches: AsyncBatches, where: Mapping[str, Any]) -> Any:
    """The JSON of a page of batches."""
    try:
        # The raw answer, because making the SDK's objects of a hundred batches takes longer than all the rest.
        listing = await batches.with_raw_response.list(**where)
        if came_over_http(listing):
            return listing.http_response.json()
    except TypeError:
        # A mock of `AsyncBatches.list` that cannot be awaited, as the SDK's own need not be.
        pass
    page: Any = batches.list(**where)
    if inspect.isawaitable(page):
        page = await page
    data = getattr(page, "data", None)
    listed = data if isinstance(data, list) else [batch async for batch in page]
    return {"data": [batch.to_dict() for batch in listed], "has_more": False}
