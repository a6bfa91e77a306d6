"""Invoices as objects: the model must write what a Pydantic model says, and what does not fit is set aside.

    pyflyte run examples/structured_extraction.py extract_invoices

It needs OPENAI_API_KEY. To try it without: python -m flytekitplugins.openai.emulator -- pyflyte run ...
"""

import datetime as dt
from typing import Iterator, Literal  # noqa: UP035 (flytekit knows the JSON iterator by this one)

from flytekit import Secret, task, workflow
from flytekit.types.iterator import JSON
from pydantic import BaseModel

from flytekitplugins.openai import BatchResult, chat_completion_request, create_batch, read_results

LETTERS = {
    "letter-1": "Invoice 114 of 3 November 2026. Two desks at 420 each. Total 840 EUR, due in 14 days. Holm & Sons",
    "letter-2": "Dear customer, for repairing the printer on 28 Oct 2026 we ask for $95.50. Kind regards, FixIt Ltd",
    "letter-3": "Reminder: our invoice of 1 September 2026 over 1,200.00 GBP is still open. Northside Legal",
}


class Invoice(BaseModel):
    """What the books need to know of an invoice."""

    sender: str
    date: dt.date
    amount: float
    currency: Literal["EUR", "GBP", "USD"]
    is_reminder: bool


extract = create_batch(name="invoices", secret=Secret(group="openai", key="api_key"), max_resubmissions=1)


@task
def write_requests(letters: dict[str, str]) -> Iterator[JSON]:
    """One request for each letter."""
    for name, letter in letters.items():
        yield chat_completion_request(
            name,
            model="gpt-4o-mini",
            messages=[{"role": "system", "content": "Read this invoice."}, {"role": "user", "content": letter}],
            response_format=Invoice,
        )


@task
def book(result: BatchResult) -> list[str]:
    """The invoices, and those of the letters that somebody must look at."""
    booked = []
    for row in read_results(result, Invoice):
        invoice = row.output
        if invoice is not None:
            booked.append(
                f"{row.custom_id}: {invoice.sender}: {invoice.amount:,.2f} {invoice.currency}, {invoice.date}"
            )
        else:
            booked.append(f"{row.custom_id}: to be read by a person: {row.error_message}")
    return booked


@workflow
def extract_invoices(letters: dict[str, str] = LETTERS) -> list[str]:
    """From letters to bookings."""
    return book(result=extract(jsonl_in=write_requests(letters=letters)))
