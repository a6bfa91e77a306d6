"""An error budget: what failed for a passing reason is run again, and a few failures are put up with.

    pyflyte run examples/error_budget.py label_reviews

It needs OPENAI_API_KEY. To try it without: python -m flytekitplugins.openai.emulator -- pyflyte run ...
"""

from typing import Iterator  # noqa: UP035 (flytekit knows the JSON iterator by this one)

from flytekit import Secret, task, workflow
from flytekit.types.iterator import JSON

from flytekitplugins.openai import BatchResult, chat_completion_request, create_batch, read_results

label = create_batch(
    name="reviews",
    secret=Secret(group="openai", key="api_key"),
    # Requests that expired, met a rate limit or an error of OpenAI's are run again, twice at most.
    max_resubmissions=2,
    # After that, one in twenty may still have failed; if more have, the workflow fails and says why.
    min_success_ratio=0.95,
    # A pod that is lost, or a download that breaks off, is another matter: the step is tried again.
    retries=2,
)


@task
def write_requests(reviews: int) -> Iterator[JSON]:
    """One request for each review."""
    for number in range(reviews):
        text = f"Review {number}: the chair is {'sturdy' if number % 3 else 'wobbly'}."
        question = f"Is this review positive or negative? Answer with one word.\n\n{text}"
        yield chat_completion_request(f"review-{number}", model="gpt-4o-mini", messages=question)


@task
def summarise(result: BatchResult) -> str:
    """How it went, and what is left to look at."""
    lost = [f"{row.custom_id} ({row.error_code})" for row in read_results(result) if not row.ok]
    return f"{result.succeeded} of {result.requests} reviews labelled; not labelled: {', '.join(lost) or 'none'}"


@workflow
def label_reviews(reviews: int = 40) -> str:
    """From reviews to labels."""
    return summarise(result=label(jsonl_in=write_requests(reviews=reviews)))
