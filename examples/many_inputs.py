"""Review products by the million: more requests than one pod should upload.

    pyflyte run examples/many_inputs.py review_catalogue

`create_batch` takes an input of any size, but uploads it from one pod. Here the catalogue is written as several inputs,
and a launch plan of the batch workflow is mapped over them. Each is an execution of its own, with pods of its own, and
can be run again by itself.
"""

import json
from pathlib import Path

from flytekit import LaunchPlan, Secret, current_context, dynamic, task, workflow
from flytekit.core.array_node import array_node
from flytekit.types.file import JSONLFile

from flytekitplugins.openai import BatchResult, chat_completion_request, create_batch

review = create_batch(
    name="product-review",
    secret=Secret(group="openai", key="api_key"),
    is_json_iterator=False,
    max_resubmissions=1,
)
review_one_input = LaunchPlan.get_or_create(review, name="review-one-input")


@task
def write_inputs(products: int, products_an_input: int) -> list[JSONLFile]:
    """The catalogue's requests, so many to a file. `custom_id` need only be unique within its file."""
    files = []
    for start in range(0, products, products_an_input):
        path = Path(current_context().working_directory, f"products-{start:09}.jsonl")
        with path.open("w", encoding="utf-8") as lines:
            for product in range(start, min(start + products_an_input, products)):
                lines.write(json.dumps(request_for(product)) + "\n")
        files.append(JSONLFile(str(path)))
    return files


def request_for(product: int) -> dict:
    """One chat completion for one product."""
    question = f"Is the description of product {product} complete? Answer yes or no."
    return chat_completion_request(f"product-{product}", model="gpt-4o-mini", messages=question)


@dynamic
def review_inputs(inputs: list[JSONLFile]) -> list[BatchResult]:
    """The launch plan, mapped: as many executions as inputs, two at a time so that others have room at OpenAI, too.

    Dynamic, because a local run maps a launch plan only over a list that is there already.
    """
    return array_node(review_one_input, concurrency=2)(jsonl_in=inputs)


@task
def summarise(results: list[BatchResult]) -> str:
    """What came of all executions together."""
    succeeded, requests = (sum(getattr(result, name) for result in results) for name in ("succeeded", "requests"))
    return f"{succeeded:,} of {requests:,} products reviewed, from {len(results)} inputs"


@workflow
def review_catalogue(products: int = 50, products_an_input: int = 20) -> str:
    """From the catalogue to the reviews."""
    inputs = write_inputs(products=products, products_an_input=products_an_input)
    return summarise(results=review_inputs(inputs=inputs))
