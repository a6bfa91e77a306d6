import openai
import pytest

from .builders import CHAT, DAY, make_lines, results, run, submit, upload

HOUR = 3_600


def assert_unseen(client, file_id):
    with pytest.raises(openai.NotFoundError) as caught:
        client.files.retrieve(file_id)
    assert caught.value.body["message"] == f"No such File object: {file_id}"


def test_file_can_be_looked_up(client):
    """A file is the same object whenever it is asked for."""
    file = upload(client)
    assert client.files.retrieve(file.id).to_dict() == file.to_dict()


def test_unknown_file_is_not_found(client):
    """An id that does not exist is a 404."""
    assert_unseen(client, "file-unknown")


def test_deleted_file_is_gone(client):
    """A deletion says so, and then there is no such file (platform.openai.com/docs/api-reference/files/delete)."""
    file = upload(client)
    assert client.files.delete(file.id).to_dict() == {"id": file.id, "object": "file", "deleted": True}
    assert_unseen(client, file.id)


def test_deleted_file_has_no_content(client):
    """The content of a deleted file is a 404 like the file."""
    file = upload(client)
    client.files.delete(file.id)
    with pytest.raises(openai.NotFoundError):
        client.files.content(file.id)


def test_file_cannot_be_deleted_twice(client):
    """A second deletion finds no file."""
    file = upload(client)
    client.files.delete(file.id)
    with pytest.raises(openai.NotFoundError):
        client.files.delete(file.id)


@pytest.mark.parametrize("second", [0, 10, 12])
def test_live_batch_outlives_its_input_file(emulator, client, second):
    """Deleting the input of a batch that is under way does it no harm."""
    emulator.change(validating=10, requests_per_second=1)
    batch = submit(client, make_lines(4))
    emulator.advance(second)
    client.files.delete(batch.input_file_id)
    emulator.advance(60)
    output, _ = results(client, client.batches.retrieve(batch.id))
    assert set(output) == {"r-0", "r-1", "r-2", "r-3"}


def test_live_batch_outlives_the_expiry_of_its_input_file(emulator, client):
    """A batch keeps reading an input file that expires meanwhile."""
    emulator.change(requests_per_second=0.001)
    file = upload(client, make_lines(4), expires_after={"anchor": "created_at", "seconds": HOUR})
    batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    emulator.advance(HOUR + 1_000)
    assert_unseen(client, file.id)
    assert client.batches.retrieve(batch.id).status == "completed"


def test_batch_of_a_deleted_file_fails(client):
    """A file that was deleted before the batch was created cannot be its input."""
    file = upload(client)
    client.files.delete(file.id)
    batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert client.batches.retrieve(batch.id).errors.data[0].param == "file_id"


def test_input_file_is_kept_for_30_days(emulator, client):
    """Batch files expire 30 days after their upload (platform.openai.com/docs/api-reference/files/create)."""
    file = upload(client)
    assert file.expires_at - file.created_at == 30 * DAY
    emulator.advance(30 * DAY - 1)
    client.files.retrieve(file.id)
    emulator.advance(1)
    assert_unseen(client, file.id)


def test_output_file_is_kept_for_30_days(emulator, client):
    """Output expires 30 days after it was written (platform.openai.com/docs/guides/batch)."""
    emulator.change(validating=HOUR)
    batch = submit(client)
    emulator.advance(HOUR)
    output = client.files.retrieve(client.batches.retrieve(batch.id).output_file_id)
    assert (output.created_at, output.expires_at) == (batch.created_at + HOUR, batch.created_at + HOUR + 30 * DAY)


def test_file_of_another_purpose_does_not_expire(emulator, client):
    """Files that are not for batches are kept until deleted (platform.openai.com/docs/api-reference/files/create)."""
    file = upload(client, purpose="user_data")
    emulator.advance(1_000 * DAY)
    assert client.files.retrieve(file.id).expires_at is None


def test_upload_can_say_when_it_expires(emulator, client):
    """`expires_after` sets the life of a file (platform.openai.com/docs/api-reference/files/create)."""
    file = upload(client, expires_after={"anchor": "created_at", "seconds": HOUR})
    assert file.expires_at == file.created_at + HOUR
    emulator.advance(HOUR)
    assert_unseen(client, file.id)


def test_batch_can_say_when_its_output_expires(emulator, client):
    """`output_expires_after` counts from the output file's creation (platform.openai.com/docs/guides/batch)."""
    emulator.change(validating=DAY / 2)
    batch = submit(client, output_expires_after={"anchor": "created_at", "seconds": HOUR})
    emulator.advance(DAY / 2)
    output = client.files.retrieve(client.batches.retrieve(batch.id).output_file_id)
    assert output.expires_at == output.created_at + HOUR == batch.created_at + DAY / 2 + HOUR


def test_output_file_says_what_it_is(client):
    """Files that a batch wrote have a purpose of their own (platform.openai.com/docs/api-reference/files/object)."""
    batch = run(client)
    output = client.files.retrieve(batch.output_file_id)
    assert (output.purpose, output.filename) == ("batch_output", f"{batch.id}_output.jsonl")
    assert output.bytes == len(client.files.content(output.id).read())


def test_new_file_can_be_invisible_for_a_while(emulator, client):
    """A file that was just uploaded may not be found yet, as users have seen."""
    emulator.change(hide_files=5)
    file = upload(client)
    assert_unseen(client, file.id)
    emulator.advance(5)
    assert client.files.retrieve(file.id).id == file.id


def test_batch_of_an_invisible_file_fails(emulator, client):
    """A batch that comes too early for its input file fails as if there were none, as users have seen."""
    emulator.change(hide_files=5)
    batch = run(client)
    assert (batch.status, batch.errors.data[0].code) == ("failed", "invalid_request")


def test_content_of_an_unknown_file_is_not_found(client):
    """Content is looked for like the file itself."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.files.content("file-unknown")
    assert (caught.value.body["message"], caught.value.param) == ("No such File object: file-unknown", "id")
