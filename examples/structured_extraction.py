"""Invoices as columns: the model must write what a Pydantic model says, and what does not match is set aside.

    pyflyte run examples/structured_extraction.py extract_invoices

It needs OPENAI_API_KEY. To try it without: python -m flytekitplugins.openai.emulator -- pyflyte run ...
"""

import datetime as dt
from typing import Literal

import pandas as pd
from flytekit import Secret, task, workflow
from pydantic import BaseModel

from flytekitplugins.openai import batch_prompt

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


@batch_prompt(
    model="gpt-4o-mini",
    secret=Secret(group="openai", key="api_key"),
    output=Invoice,
    system="Read this invoice.",
    max_resubmissions=1,
)
def extract(letter: str) -> str:
    """A letter is its own prompt."""
    return letter


@task
def read_letters() -> pd.DataFrame:
    """One row for each letter."""
    return pd.DataFrame({"name": LETTERS.keys(), "letter": LETTERS.values()})


@task
def book(letters: pd.DataFrame) -> list[str]:
    """The invoices, and the letters that a person must look at."""
    return [
        f"{row.name}: {row.sender}: {row.amount:,.2f} {row.currency}, {row.date}"
        if pd.isna(row.error_code)
        else f"{row.name}: to be read by a person: {row.error_message}"
        for row in letters.itertuples()
    ]


@workflow
def extract_invoices() -> list[str]:
    """From letters to bookings."""
    return book(letters=extract(table=read_letters()))
