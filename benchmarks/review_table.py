"""The job of the part `tables` as a user writes it: a function from columns to a prompt."""

from flytekit import Secret
from pydantic import BaseModel

from flytekitplugins.openai import batch_prompt

from .reviews import INSTRUCTIONS, MODEL


class Review(BaseModel):
    """What is asked about a review."""

    sentiment: str
    topics: list[str]
    urgent: bool
    summary: str


@batch_prompt(model=MODEL, secret=Secret(group="team", key="key"), output=Review, system=INSTRUCTIONS)
def sort_review(text: str) -> str:
    """A review is its own prompt."""
    return text
