import pytest

from flytekitplugins.openai.batch.idempotency_key import IdempotencyKey

NODE = "s3://bucket/metadata/project-development-f1/n0/data"


def test_attempts_of_a_node_share_it():
    """A new attempt takes over what an earlier one made."""
    first, second = IdempotencyKey.of(f"{NODE}/0"), IdempotencyKey.of(f"{NODE}/1")
    assert (first.node, first.attempt, second.attempt) == (second.node, "0", "1")


@pytest.mark.parametrize(
    "other",
    [
        "s3://bucket/metadata/project-development-f2/n0/data/0",
        "s3://bucket/metadata/project-development-f1/n1/data/0",
        "s3://bucket/metadata/project-development-f1/n0/n0/data/0",
        "gs://bucket/metadata/project-development-f1/n0/data/0",
    ],
)
def test_no_two_nodes_share_it(other):
    """Neither of two executions, nor of two sub-workflows."""
    assert IdempotencyKey.of(other).node != IdempotencyKey.of(f"{NODE}/0").node


def test_slash_at_the_end_is_nothing():
    """Flyte has written prefixes with and without."""
    assert IdempotencyKey.of(f"{NODE}/0/") == IdempotencyKey.of(f"{NODE}/0")


def test_key_survives_a_batchs_metadata():
    """It is found again in what OpenAI lists."""
    key = IdempotencyKey.of(f"{NODE}/3")
    assert IdempotencyKey.read({"run": "nightly", "flyte_key": key.tag}) == key
    assert len(key.tag) <= 512


@pytest.mark.parametrize("metadata", [None, "text", {}, {"flyte_key": 7}, {"flyte_key": "abc"}, {"flyte_key": "/0"}])
def test_metadata_of_others_has_none(metadata):
    """Batches of other programs are on the same list."""
    assert IdempotencyKey.read(metadata) is None


@pytest.mark.parametrize(
    ("attempt", "other", "ends"),
    [("0", "0", True), ("1", "0", True), ("0", "1", False), ("10", "9", True), ("x", "x", True)],
)
def test_end_of_an_attempt_is_the_end_of_earlier_ones(attempt, other, ends):
    """A late delete must not cancel what the next attempt has made."""
    assert IdempotencyKey("abc", attempt).ends(IdempotencyKey("abc", other)) is ends


def test_end_of_a_node_is_not_that_of_another():
    """Nor that of a batch without a key."""
    assert not IdempotencyKey("abc", "0").ends(IdempotencyKey("def", "0"))
    assert not IdempotencyKey("abc", "0").ends(None)
