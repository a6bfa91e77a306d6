import json
import os
import pickle
import resource
import struct

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai._secret_names import COMMON, KeyScope
from flytekitplugins.openai.batch.connector import ID_BYTES, BatchEndpointMetadata
from flytekitplugins.openai.batch.control.state.metadata_encoding import MAX_BYTES
from flytekitplugins.openai.batch.records.manifest import FileEntry, Manifest
from flytekitplugins.openai.exceptions import InvalidMetadataError

REFUSAL = (
    "These bytes are not the metadata of an OpenAI batch task; neither this connector nor the published "
    "flytekitplugins-openai wrote them."
)


def pickled_by_the_published_package(**attributes):
    """An instance pickled by reference to its class, as cloudpickle does it for an importable one."""
    metadata = BatchEndpointMetadata.__new__(BatchEndpointMetadata)
    metadata.__dict__.update({"openai_org": "org-1", "batch_id": "batch_1", **attributes})
    return cloudpickle.dumps(metadata)


def test_metadata_is_positional_or_by_keyword():
    """Both spellings are in use."""
    assert BatchEndpointMetadata("org-1", "batch_1") == BatchEndpointMetadata(batch_id="batch_1", openai_org="org-1")


def test_metadata_is_equal_whatever_else_it_carries():
    """Organization and batch id alone say which batch it is."""
    assert BatchEndpointMetadata("org-1", "batch_1", partial_results=True) == BatchEndpointMetadata("org-1", "batch_1")


def test_metadata_is_small_readable_json():
    """Flyte stores it with the workflow and logs it."""
    assert BatchEndpointMetadata(None, "batch_1").encode() == b'{"openai_org":null,"batch_id":"batch_1"}'


def test_metadata_survives_a_round_trip_whole():
    """What equality leaves out is kept all the same."""
    metadata = BatchEndpointMetadata("org-1", "batch_1", "proj-1", {"key": "k", "group": None}, partial_results=True)
    assert vars(BatchEndpointMetadata.decode(metadata.encode())) == vars(metadata)


REQUEST = {"input_file_id": "file-1", "metadata": {"flyte_key": "abc/0"}}


@pytest.mark.parametrize("batch_id", ["batch_1", ""])
def test_request_survives_a_round_trip(batch_id):
    """By it a batch is found, and submitted where there is none yet."""
    metadata = BatchEndpointMetadata(None, batch_id, request=REQUEST)
    assert vars(BatchEndpointMetadata.decode(metadata.encode())) == vars(metadata)


def test_zero_survives_a_round_trip():
    """A later round may have no requests."""
    metadata = BatchEndpointMetadata(None, "batch_1", requests=0)
    assert vars(BatchEndpointMetadata.decode(metadata.encode())) == vars(metadata)


def test_metadata_with_nulls_is_metadata_without():
    """What is read can be written and read again."""
    data = b'{"openai_org":null,"batch_id":"batch_1","partial_results":null,"local":null}'
    assert vars(BatchEndpointMetadata.decode(data)) == vars(BatchEndpointMetadata(None, "batch_1"))


def test_refusal_survives_a_round_trip():
    """It has neither a batch nor what would make one."""
    metadata = BatchEndpointMetadata("org-1", "", refused="Could not create a batch: no.", local=True)
    assert vars(BatchEndpointMetadata.decode(metadata.encode())) == vars(metadata)


def test_metadata_of_a_newer_release_is_read():
    """During an upgrade, replicas of both releases answer for the same task."""
    newer = json.dumps({"openai_org": None, "batch_id": "batch_1", "from_the_future": 1}).encode()
    assert BatchEndpointMetadata.decode(newer) == BatchEndpointMetadata(None, "batch_1")


# Recorded from flytekitplugins-openai 1.16.31.
PUBLISHED = (
    b"\x80\x05\x95v\x00\x00\x00\x00\x00\x00\x00\x8c&flytekitplugins.openai.batch.connector\x94\x8c\x15BatchEndpointMetadata"
    b"\x94\x93\x94)\x81\x94}\x94(\x8c\nopenai_org\x94\x8c\x05org-1\x94\x8c\x08batch_id\x94\x8c\x07batch_1\x94ub."
)


def test_metadata_of_the_published_package_is_read():
    """A batch that the published package submitted is watched to its end by this one."""
    assert BatchEndpointMetadata.decode(PUBLISHED) == BatchEndpointMetadata("org-1", "batch_1")


def test_metadata_without_an_organization_is_read():
    """A task of the published package need not name one."""
    data = pickled_by_the_published_package(openai_org=None)
    assert BatchEndpointMetadata.decode(data) == BatchEndpointMetadata(None, "batch_1")


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("batch_id", ["batch_1", "bGl0ZWxsbQ==", "4b1c-77", "projects:7.batch+1"])
def test_id_of_any_server_survives_a_round_trip(batch_id):
    """A batch whose metadata cannot be read again would be lost."""
    assert BatchEndpointMetadata.decode(BatchEndpointMetadata(None, batch_id).encode()).batch_id == batch_id


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_hostile_pickle_is_refused_and_not_run(tmp_path, protocol, wrapped):
    """The service's port is open to anyone in the cluster, so the bytes may be anything."""
    hostile = Touch(tmp_path / "executed")
    data = pickle.dumps(hostile, protocol)
    if wrapped:
        data = pickled_by_the_published_package(openai_org=hostile)
    with pytest.raises(InvalidMetadataError) as raised:
        BatchEndpointMetadata.decode(data)
    assert str(raised.value) == REFUSAL
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("digest", "reused"), [("0123456789abcdef", ""), ("", "batch_0123456789abcdef0123456789abcdef")]
)
def test_metadata_of_the_largest_task_is_within_the_limit(digest, reused):
    """Five hundred files with all that may be known of them, and all metadata of the user's that OpenAI takes."""
    entry = FileEntry(0, 50_000, 10_000_000, 10_000_000, digest, reused)
    manifest = Manifest(("gpt-4o-mini-2024-07-18",), (entry,) * 500, limits={"gpt-4o-mini-2024-07-18": 100_000_000})
    metadata = BatchEndpointMetadata(
        "org-0123456789abcdef",
        "batch_0123456789abcdef0123456789abcdef",
        request={"metadata": {f"{n:064}": "x" * 250 for n in range(15)}},
        shards=[f"file-{n:022}" for n in range(500)],
        manifest=manifest.encode(),
    )
    assert len(metadata.encode()) < MAX_BYTES - ID_BYTES
    assert BatchEndpointMetadata.decode(metadata.encode()) == metadata


@pytest.mark.parametrize(
    "names",
    [
        {"flyte_project": "../x"},
        {"flyte_project": "A"},
        {"flyte_domain": "d"},
        {"flyte_project": 5},
        {"flyte_project": ""},
    ],
)
def test_scope_that_flyte_gives_nobody_is_refused(names):
    """It names a secret of the service."""
    with pytest.raises(InvalidMetadataError):
        BatchEndpointMetadata.decode(json.dumps({"openai_org": None, "batch_id": "batch_1", **names}).encode())


def test_scope_survives_a_round_trip():
    """And without one the key is the common one, as before there were any."""
    metadata = BatchEndpointMetadata(None, "batch_1", flyte_project="a-team", flyte_domain="production")
    assert BatchEndpointMetadata.decode(metadata.encode()).key_scope == KeyScope("a-team", "production")
    assert BatchEndpointMetadata.decode(BatchEndpointMetadata(None, "batch_1").encode()).key_scope == COMMON


@pytest.mark.parametrize("files", [0, 2])
def test_manifest_of_other_files_is_refused(files):
    """It would be counted against the wrong ones."""
    manifest = Manifest(("m",), (FileEntry(0, 1, 1),) * files).encode()
    metadata = BatchEndpointMetadata(None, "batch_1", shards=["file-1"], manifest=manifest)
    with pytest.raises(InvalidMetadataError):
        BatchEndpointMetadata.decode(metadata.encode())


@given(st.binary() | st.binary().map(lambda tail: PUBLISHED[:-20] + tail))
def test_any_bytes_are_metadata_or_refused(data):
    """No bytes make the reader raise anything else."""
    try:
        assert isinstance(BatchEndpointMetadata.decode(data), BatchEndpointMetadata)
    except InvalidMetadataError as error:
        assert str(error) == REFUSAL  # noqa: PT017 (either outcome is right)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"{",
        b"[]",
        b"{}",
        b'{"batch_id": 5, "openai_org": null}',
        b'{"batch_id": "", "openai_org": null}',
        b'{"batch_id": "", "openai_org": null, "request": {"input_file_id": "file-1"}}',
        b'{"batch_id": "batch_1", "openai_org": null, "request": {"metadata": {"flyte_key": "abc/0"}}}',
        b'{"batch_id": "batch_1", "openai_org": null, "request": ["input_file_id"]}',
        b'{"batch_id": "../files", "openai_org": null}',
        b'{"batch_id": "batch_1/cancel", "openai_org": null}',
        b'{"batch_id": "..", "openai_org": null}',
        b'{"batch_id": "batch_1?a=b", "openai_org": null}',
        b'{"batch_id": "batch_1\\n", "openai_org": null}',
        b'{"batch_id": "batch_1", "openai_org": null, "openai_project": 5}',
        b'{"batch_id": "batch_1", "openai_org": null, "secret_arg": ["key"]}',
        b'{"batch_id": "batch_1", "openai_org": null, "partial_results": "yes"}',
        b'{"a":' * 3_000,
        b'{"batch_id": "batch_1", "openai_org": "' + b"x" * 70_000 + b'"}',
        b'{"batch_id": "batch_1", "openai_org": 5}',
        b'{"batch_id": "batch_1", "openai_org": null, "created_at": 1' + b"0" * 400 + b"}",
        b'{"batch_id": "batch_1", "openai_org": null, "requests": -1}',
        b'{"batch_id": "batch_1", "openai_org": null, "x": NaN}',
        b'{"batch_id": "batch_1", "openai_org": null, "x": 1e999}',
        b'{"batch_id": "batch_1", "openai_org": null, "x": ' + b"[" * 60 + b"]" * 60 + b"}",
        b'{"batch_id": "\\ud800", "openai_org": null}',
        pickled_by_the_published_package(request={"input_file_id": "file-1"}),
        b"\x80\x05.",
        b"\xff" * 10,
        pickle.dumps({"batch_id": "batch_1"}),
        pickle.dumps(BatchEndpointMetadata),
        pickled_by_the_published_package(batch_id=7),
        pickled_by_the_published_package(padding="x" * 70_000),
    ],
)
def test_bytes_that_are_not_metadata_are_refused_in_one_sentence(data):
    """Whatever the bytes are, the error is the same."""
    with pytest.raises(InvalidMetadataError) as raised:
        BatchEndpointMetadata.decode(data)
    assert str(raised.value) == REFUSAL


def test_pickle_cannot_make_the_service_run_out_of_memory():
    """Ten bytes that name a place in the unpickler's memo would take 900 MB, and the pod has 300."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidMetadataError):
        BatchEndpointMetadata.decode(b"\x80\x05K\x01r" + struct.pack("<I", 60_000_000) + b".")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


# Recorded from the commit before the metadata became a `TaskSpec`.
KEY = '{"flyte_key":"0123456789abcdef0123456789abcdef/0"}'
BODY = f'"request":{{"completion_window":"24h","endpoint":"/v1/chat/completions","metadata":{KEY}'
EARLIER = {
    "single file": (
        '{"openai_org":"org","batch_id":"batch_1","openai_project":"proj","secret_arg":{"group":"g","key":"k",'
        '"group_version":null,"mount_requirement":"ANY"},"partial_results":true,'
        f'{BODY},"input_file_id":"file-1"}},"created_at":1764300000}}'
    ),
    "shards": (
        f'{{"openai_org":null,"batch_id":"",{BODY}}},"shards":["file-1","file-2"],"requests":6,'
        '"max_concurrent_batches":2,"tolerant":true,"delete_files":true,"local":true,"created_at":1764300000}'
    ),
    "refused": '{"openai_org":null,"batch_id":"","refused":"Could not"}',
}


@pytest.mark.parametrize("text", EARLIER.values(), ids=EARLIER)
def test_metadata_on_the_wire_stays_as_it_was(text):
    """A task that runs during an upgrade is polled by both releases."""
    assert BatchEndpointMetadata.decode(text.encode()).encode() == text.encode()
