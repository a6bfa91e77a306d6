"""The same job as in `review_table`, written around `create_batch`; and what a table costs pandas by itself."""

from typing import Iterator  # noqa: UP035 (flytekit knows the JSON iterator by this one)

import pandas as pd
from flytekit import task
from flytekit.types.iterator import JSON

from flytekitplugins.openai import BatchResult, chat_completion_request, read_results

from .review_table import Review
from .reviews import INSTRUCTIONS, MODEL


@task
def ask(reviews: pd.DataFrame) -> Iterator[JSON]:
    """One request for each row."""
    for row in reviews.itertuples():
        messages = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": row.text}]
        yield chat_completion_request(str(row.Index), model=MODEL, messages=messages, response_format=Review)


@task
def join(reviews: pd.DataFrame, result: BatchResult) -> pd.DataFrame:
    """The table with the answers."""
    answers = {int(row.custom_id): row for row in read_results(result, Review)}
    outputs = [answers[number].output for number in reviews.index]
    for name in Review.model_fields:
        reviews[name] = [None if output is None else getattr(output, name) for output in outputs]
    reviews["error_code"] = [answers[number].error_code for number in reviews.index]
    reviews["error_message"] = [answers[number].error_message for number in reviews.index]
    return reviews


@task
def copy(reviews: pd.DataFrame) -> pd.DataFrame:
    """Read the table, and write it."""
    return reviews
