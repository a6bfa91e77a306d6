"""A large input: product reviews to be sorted, a chat completion of about a kilobyte each, and what a model answers."""

import itertools
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flytekitplugins.openai.emulator import Reply, Request

from .stand_in import ENDPOINT

MODEL = "gpt-4o-mini"
INSTRUCTIONS = (
    "You read reviews of outdoor equipment for its maker. Answer with one JSON object and nothing else: "
    '"sentiment" is one of positive, mixed, negative; "topics" is a list of at most three of fit, material, '
    'durability, weather, price, delivery; "urgent" is true when somebody was hurt or might be; "summary" says in '
    "one sentence of plain English what the writer wants us to know."
)
THINGS = ("zip", "hood", "left strap", "inner pocket", "sole", "seam at the shoulder", "buckle", "lining", "drawcord")
VERDICTS = (
    "gave way in the second week",
    "is better than on the one I had before",
    "let the rain in after an hour",
    "still looks new after two winters",
    "was “too small” for my hand in a glove",
    "is what I would pay €20 more for",
    "came loose on the first long walk",
)
SENTENCES = [f"The {thing} {verdict}." for thing, verdict in itertools.product(THINGS, VERDICTS)]
SENTENCES_A_REVIEW = 8
# One request in so many is refused by the model, so that there is an error file as well.
ONE_REFUSED_IN = 100


@contextmanager
def requests_file(directory: Path, count: int) -> Iterator[Path]:
    """A file of so many requests, the same each time, for as long as it is needed: a gigabyte a million."""
    path = directory / f"reviews-{count}.jsonl"
    choose = random.Random(count).choices  # noqa: S311 (reviews, not secrets)
    try:
        with path.open("w", encoding="utf-8") as target:
            for number in range(count):
                line = json.dumps(_request(number, "\n".join(choose(SENTENCES, k=SENTENCES_A_REVIEW))))
                target.write(f"{line}\n")
        yield path
    finally:
        path.unlink(missing_ok=True)


def answer(request: Request) -> str | Reply:
    """What the stand-in's model says."""
    number = int(request.custom_id.rpartition("-")[2])
    if number % ONE_REFUSED_IN == 0:
        message = "The response was filtered due to the prompt triggering the content management policy."
        return Reply({"error": {"message": message, "type": "invalid_request_error", "code": "content_filter"}}, 400)
    said = {"sentiment": "mixed", "topics": ["material", "weather"], "urgent": False, "summary": request.prompt[:200]}
    return json.dumps(said)


def _request(number: int, review: str) -> dict:
    messages = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": review}]
    body = {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 200}
    return {"custom_id": f"review-{number:08}", "method": "POST", "url": ENDPOINT, "body": body}
