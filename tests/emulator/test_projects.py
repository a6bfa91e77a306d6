import contextlib

import openai
import pytest

from .builders import CHAT, call, run, submit, upload


@pytest.fixture
def keyed(emulator):
    """An emulator with two projects: two keys of one, one of the other."""
    emulator.change(keys={"sk-a": "proj_a", "sk-a2": "proj_a", "sk-b": "proj_b"})
    return emulator


@pytest.fixture
def ours(keyed, client):
    return client.with_options(api_key="sk-a")


@pytest.fixture
def theirs(keyed, client):
    return client.with_options(api_key="sk-b")


def test_unknown_key_is_refused(keyed, client):
    """A key that is not among those that the emulator was told is a 401."""
    with pytest.raises(openai.AuthenticationError) as caught:
        client.batches.list()
    assert caught.value.body == {
        "message": "Incorrect API key provided.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }


def test_keys_can_be_rotated(keyed, ours):
    """A key that is taken away is refused from then on."""
    ours.batches.list()
    keyed.change(keys={"sk-b": "proj_b"})
    with pytest.raises(openai.AuthenticationError):
        ours.batches.list()


def test_keys_of_one_project_see_the_same(ours):
    """What one key of a project made, another key of it sees."""
    batch = run(ours)
    again = ours.with_options(api_key="sk-a2")
    assert again.batches.retrieve(batch.id).to_dict() == batch.to_dict()


def test_batch_of_another_project_is_not_found(ours, theirs):
    """A batch does not exist for other projects' keys, as users have seen."""
    batch = submit(theirs)
    with pytest.raises(openai.NotFoundError):
        ours.batches.retrieve(batch.id)


def test_batch_of_another_project_cannot_be_cancelled(keyed, ours, theirs):
    """A cancel with another project's key is a 404 and changes nothing."""
    keyed.change(validating=10)
    batch = submit(theirs)
    with pytest.raises(openai.NotFoundError):
        ours.batches.cancel(batch.id)
    assert theirs.batches.retrieve(batch.id).status == "validating"


def test_file_of_another_project_is_not_found(ours, theirs):
    """A file cannot be seen, read or deleted with another project's key."""
    file = upload(theirs)
    for attempt in (ours.files.retrieve, ours.files.content, ours.files.delete):
        with pytest.raises(openai.NotFoundError):
            attempt(file.id)
    assert theirs.files.retrieve(file.id).id == file.id


def test_output_belongs_to_the_project_of_its_batch(ours, theirs):
    """What a batch wrote can be read by its own project alone."""
    batch = run(theirs)
    theirs.files.retrieve(batch.output_file_id)
    with pytest.raises(openai.NotFoundError):
        ours.files.retrieve(batch.output_file_id)


def test_lists_hold_only_what_is_of_the_project(ours, theirs):
    """Neither list shows anything of another project."""
    submit(theirs)
    assert (ours.batches.list().data, ours.files.list().data) == ([], [])


def test_batch_of_another_projects_file_fails(ours, theirs):
    """A batch cannot read another project's file, and fails as users have seen."""
    file = upload(theirs)
    created = ours.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    message = f"Cannot find file {file.id}, or organization does not have access to it."
    assert [error.message for error in ours.batches.retrieve(created.id).errors.data] == [message]


def test_project_header_must_be_that_of_the_key(keyed):
    """A key is refused together with another project's name (platform.openai.com/docs/api-reference)."""
    reply = call(keyed, "GET", "/v1/batches", key="sk-a", headers={"openai-project": "proj_b"})
    assert (reply.status, reply.error["code"]) == (401, "mismatched_project")
    assert call(keyed, "GET", "/v1/batches", key="sk-a", headers={"openai-project": "proj_a"}).status == 200


def test_header_alone_names_the_project_of_any_key(client):
    """An emulator that was told no keys takes any, and the project from the header."""
    ours, theirs = (client.with_options(default_headers={"OpenAI-Project": name}) for name in ("proj_a", "proj_b"))
    batch = submit(ours)
    with pytest.raises(openai.NotFoundError):
        theirs.batches.retrieve(batch.id)
    assert ours.with_options(api_key="sk-any").batches.retrieve(batch.id).id == batch.id


@pytest.mark.parametrize(
    ("attempt", "scope"),
    [
        (lambda client: client.files.list(), "api.files.read"),
        (lambda client: client.files.retrieve("file-1"), "api.files.read"),
        (lambda client: client.files.content("file-1"), "api.files.read"),
        (upload, "api.files.write"),
        (lambda client: client.files.delete("file-1"), "api.files.write"),
        (lambda client: client.batches.list(), "api.batches.read"),
        (lambda client: client.batches.retrieve("batch_1"), "api.batches.read"),
        (lambda client: client.batches.cancel("batch_1"), "api.batches.write"),
        (
            lambda client: client.batches.create(input_file_id="", endpoint=CHAT, completion_window="24h"),
            "api.batches.write",
        ),
        (lambda client: client.chat.completions.create(model="m", messages=[]), "model.request"),
    ],
)
def test_restricted_key_is_refused_what_it_is_not_allowed_for(keyed, ours, attempt, scope):
    """As users have seen, with 401 and no code, before anything else is looked at (community.openai.com/t/1374480)."""
    everything = {"api.files.read", "api.files.write", "api.batches.read", "api.batches.write", "model.request"}
    keyed.change(scopes={"sk-a": everything - {scope}})
    with pytest.raises(openai.AuthenticationError) as caught:
        attempt(ours)
    assert caught.value.code is None
    start = f"You have insufficient permissions for this operation. Missing scopes: {scope}. Check that you have the "
    assert caught.value.body["message"].startswith(start)
    keyed.change(scopes={"sk-a": {scope}})
    with contextlib.suppress(openai.NotFoundError, openai.BadRequestError):
        attempt(ours)


def test_key_without_restrictions_may_do_everything(keyed, ours):
    """Only those that are named are restricted."""
    keyed.change(scopes={"sk-b": ()})
    assert ours.files.list().data == []
