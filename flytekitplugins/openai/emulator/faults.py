"""The faults that a test can order: of an HTTP call, of a batch, of a request in a batch."""

from __future__ import annotations

import fnmatch
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["BatchFault", "CallFault", "Fault", "FaultBook", "FaultBooks", "RequestFault"]


@dataclass(frozen=True, kw_only=True)
class CallFault:
    """The next matching calls fail in transit.

    Attributes:
        method: HTTP method, or `*`.
        path: Path with `*` for any part of it, such as `/v1/batches/*`.
        times: How many calls it hits; `None`: all of them.
        skip: How many matching calls succeed first.
        seconds: How long it lasts by the emulator's clock; `None`: as long as `times` says.
        after_work: The work is done first, and only the reply goes wrong: it is lost, unless something else is
            asked for. Otherwise nothing is done.
        delay: Real seconds to wait: before anything else, or with `after_work` before the reply.
        drop: Close the connection without a reply.
        status: Answer this HTTP status in place of the real one.
        code: Its error code.
        message: Its error message.
        headers: Extra headers of that answer, such as `Retry-After`.
        body: Answer this text in place of a JSON document.
        truncate: Cut the body after so many bytes.
        hide_length: With `truncate`: no Content-Length, so that the cut cannot be told from the end.
    """

    method: str = "*"
    path: str = "*"
    times: int | None = 1
    skip: int = 0
    seconds: float | None = None
    after_work: bool = False
    delay: float = 0.0
    drop: bool = False
    status: int | None = None
    code: str | None = None
    message: str = "ordered by the test"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    truncate: int | None = None
    hide_length: bool = False

    def matches(self, subject: str) -> bool:
        """Whether `subject`, a call as `METHOD /path`, matches."""
        method, _, path = subject.partition(" ")
        return fnmatch.fnmatchcase(method, self.method) and fnmatch.fnmatchcase(path, self.path)


@dataclass(frozen=True, kw_only=True)
class BatchFault:
    """The next batches fail in validation, with this as their one error; `code` is one of a batch's `errors.data`."""

    code: str | None = None
    message: str = "ordered by the test"
    line: int | None = None
    param: str | None = None
    input_file_id: str = "*"
    times: int | None = 1
    skip: int = 0
    seconds: float | None = None

    def matches(self, subject: str) -> bool:
        """Whether `subject`, the input file's id, matches."""
        return fnmatch.fnmatchcase(subject, self.input_file_id)


@dataclass(frozen=True, kw_only=True)
class RequestFault:
    """The next lines of batches that match fail when their batch runs them; a request by itself is a call.

    Attributes:
        custom_id: Which requests are meant, with `*` for any part.
        status: The HTTP status with which the model's endpoint refuses them; 500 unless something else is asked for.
        code: The code of the refusal; without a `status`, that of a request that never got an HTTP answer, such as
            `request_timeout`.
        message: The error's message.
        lost: They leave no line in any file.
        times: How many requests it hits; `None`: all of them.
        skip: How many matching requests pass unharmed first.
        seconds: How long it lasts by the emulator's clock; `None`: as long as `times` says.

    Raises:
        ValueError: `custom_id` is no text, or `status` is not one of a refusal.
    """

    custom_id: str = "*"
    status: int | None = None
    code: str | None = None
    message: str = "ordered by the test"
    lost: bool = False
    times: int | None = 1
    skip: int = 0
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.custom_id, str):
            raise ValueError(f"The custom_id of a RequestFault must be a string, not {self.custom_id!r}.")  # noqa: TRY004
        if self.status is not None and self.status not in range(400, 600):
            raise ValueError(f"The status of a RequestFault must be a number from 400 to 599, not {self.status!r}.")
        if self.status is None and self.code is None and not self.lost:
            object.__setattr__(self, "status", 500)

    def matches(self, subject: str) -> bool:
        """Whether `subject`, a `custom_id`, matches."""
        return fnmatch.fnmatchcase(subject, self.custom_id)


Fault = CallFault | BatchFault | RequestFault
F = TypeVar("F", CallFault, BatchFault, RequestFault)


@dataclass
class _Order(Generic[F]):
    fault: F
    ends_at: float
    to_skip: int
    left: int | None


class FaultBook(Generic[F]):
    """The faults of one level, in the order they were asked for. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[_Order[F]] = []

    def add(self, fault: F, *, now: float) -> None:
        """Order a fault, from now on."""
        ends_at = math.inf if fault.seconds is None else now + fault.seconds
        with self._lock:
            self._orders.append(_Order(fault, ends_at, fault.skip, fault.times))

    def take(self, subject: str, *, now: float) -> F | None:
        """The first fault that matches `subject`, with one use spent; `None` if there is none.

        Args:
            subject: What the fault's own `matches` looks at.
            now: When it happens. Not always later than the call before: batches catch up one after the other.
        """
        with self._lock:
            self._orders = [order for order in self._orders if order.left != 0]
            for order in self._orders:
                if now < order.ends_at and order.fault.matches(subject):
                    if order.to_skip:
                        order.to_skip -= 1
                        continue
                    if order.left is not None:
                        order.left -= 1
                    return order.fault
        return None

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._orders.clear()


@dataclass(frozen=True)
class FaultBooks:
    """The faults of all three levels."""

    calls: FaultBook[CallFault] = field(default_factory=FaultBook)
    batches: FaultBook[BatchFault] = field(default_factory=FaultBook)
    requests: FaultBook[RequestFault] = field(default_factory=FaultBook)

    def add(self, fault: Fault, *, now: float) -> None:
        """Order a fault of any level, from now on."""
        if isinstance(fault, CallFault):
            self.calls.add(fault, now=now)
        elif isinstance(fault, BatchFault):
            self.batches.add(fault, now=now)
        else:
            self.requests.add(fault, now=now)

    def clear(self) -> None:
        """Remove all faults of all levels."""
        for book in (self.calls, self.batches, self.requests):
            book.clear()
