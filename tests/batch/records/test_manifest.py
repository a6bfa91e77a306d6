"""What the upload step hands on about its files, and what is not taken for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.records.manifest import FileEntry, Manifest

ENTRY = st.builds(
    FileEntry,
    model=st.integers(0, 1),
    requests=st.integers(0, 50_000),
    tokens=st.integers(0, 10**9),
    answer=st.none() | st.integers(0, 10**9),
    digest=st.text("abcXYZ019_-", max_size=16),
    reused=st.sampled_from(["", "batch_1"]),
)


@given(
    st.builds(
        Manifest,
        models=st.just(("gpt-4o", "")),
        files=st.lists(ENTRY, max_size=4).map(tuple),
        exact=st.booleans(),
        limits=st.dictionaries(st.sampled_from(["gpt-4o", ""]), st.integers(0, 10**9)),
    )
)
def test_manifest_is_read_as_it_was_written(manifest):
    """By another process, days later."""
    assert Manifest.decode(manifest.encode()) == manifest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"files": [[0, 1, 1]]}',
        '{"models": ["m"], "files": [[1, 1, 1]]}',
        '{"models": ["m"], "files": [[-1, 1, 1]]}',
        '{"models": ["m"], "files": [[0, 1, -1]]}',
        '{"models": ["m"], "files": [[0, 1]]}',
        '{"models": [5], "files": []}',
        '{"limits": {"m": -1}}',
        '{"models": ["m"], "files": [[0, 1, 1, null, "not a digest"]]}',
        '{"models": ["m"], "files": [[0, 1, 1, null, "", "../files"]]}',
        '{"models": ["m"], "files": [[0, 1, 1, null, "", "batch_1/cancel"]]}',
        '{"models": ["\\ud800"]}',
        "\ud800",
        '{"a":' * 100_000,
    ],
)
def test_other_text_is_refused(text):
    """It comes back from a port that anyone can write to."""
    with pytest.raises(ValueError, match=r"manifest|file|digest"):
        Manifest.decode(text)


def test_files_of_a_model_are_found():
    """In their order."""
    files = (FileEntry(0, 1, 10), FileEntry(1, 1, 20), FileEntry(0, 1, 30))
    manifest = Manifest(("a", "b"), files)
    assert [(model, [entry.tokens for entry in entries]) for model, entries in manifest.by_model()] == [
        ("a", [10, 30]),
        ("b", [20]),
    ]
    assert manifest.model_of(1) == "b"
