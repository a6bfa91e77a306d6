"""Changes JSON as a whole: bytes that are changed one by one are seldom JSON any more."""

import json
import random

# Each has been the end of some reader of JSON.
DEEP = 150
VALUES = [
    *(None, True, False, 0, -1, 1.5, 2**63, -(2**63) - 1, 10**400, float("nan"), float("inf"), 1e-320),
    *(
        "",
        "\0",
        "\ud800",
        "\x1b[2J",
        "\u202eabc",
        "a\r\nb",
        "../x",
        "9" * 5_000,
        "{}",
        "null",
        "1",
        "2025-01-01T00:00:00Z",
    ),
    *("```\n" + " " * 2_000 + "x```", "<script>alert(1)</script>", [], {}, [[]], [None], {"": None}),
]
NAMES = [
    *("id", "status", "error", "errors", "data", "code", "message", "line", "usage", "request_counts", "metadata"),
    *("created_at", "completed_at", "custom_id", "response", "status_code", "body", "choices", "output", "content"),
    *("text", "type", "embedding", "tool_calls", "function", "arguments", "finish_reason", "refusal", "batch_id"),
    *("openai_org", "request", "shards", "manifest", "secret_arg", "has_more", "object", "output_text", "total"),
]


def mutate(data, seed):
    """The JSON of the first line with one value changed; `None` if it is no JSON, or is nested too deeply."""
    head, newline, tail = data.partition(b"\n")
    try:
        return _changed(json.loads(head), random.Random(seed)) + newline + tail
    except (ValueError, RecursionError):
        return None


def _changed(document, chance):
    places = list(_places([document], 0))
    holder, key = chance.choice(places)
    change = chance.randrange(8)
    if change == 0:
        holder[key] = _nested(holder[key], chance)
    elif change == 1 and isinstance(holder[key], dict):
        holder[key][chance.choice(NAMES)] = chance.choice(VALUES)
    elif change == 2 and isinstance(holder, dict):
        del holder[key]
    elif change == 3 and isinstance(holder, dict):
        holder[chance.choice(NAMES)] = holder.pop(key)
    elif change == 4:
        source, name = chance.choice(places)
        holder[key] = json.loads(json.dumps(source[name]))
    else:
        holder[key] = chance.choice(VALUES)
    root = places[0][0]
    return json.dumps(root[0], ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass")


def _places(holder, key):
    yield holder, key
    value = holder[key]
    for inner in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from _places(value, inner)


def _nested(value, chance):
    for _ in range(chance.choice([1, 3, 25, DEEP])):
        value = [value] if chance.random() < 0.5 else {"a": value}
    return value
