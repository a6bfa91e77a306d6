"""The index tells which request went where, in the order of the input."""

import io

from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.records.index import IndexWriter, read_index


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.text(max_size=5), max_size=3)), max_size=30))
def test_index_tells_what_it_was_told(runs):
    """In order, for any ids."""
    target = io.BytesIO()
    writer = IndexWriter(target)
    for shard, custom_ids in runs:
        writer.add(shard, custom_ids)
    writer.flush()
    told = [
        (shard, custom_id)
        for shard, custom_ids in read_index(target.getvalue().splitlines())
        for custom_id in custom_ids
    ]
    assert told == [(shard, custom_id) for shard, custom_ids in runs for custom_id in custom_ids]


def test_index_keeps_half_characters():
    """JSON can hold them, and UTF-8 cannot."""
    target = io.BytesIO()
    writer = IndexWriter(target)
    writer.add(0, ["\ud800"])
    writer.flush()
    assert list(read_index([target.getvalue()])) == [(0, ["\ud800"])]


def test_index_is_written_as_it_goes():
    """A million ids are not held."""
    target = io.BytesIO()
    writer = IndexWriter(target)
    writer.add(0, [f"r-{number}" for number in range(5_000)])
    assert target.getvalue()
