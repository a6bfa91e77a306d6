import openai
import pytest

from .builders import call, make_line, run, submit, upload


@pytest.fixture
def batches(emulator, client):
    """The ids of five batches, the newest first."""
    file = upload(client)
    made = []
    for _ in range(5):
        parameters = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        made.append(client.batches.create(input_file_id=file.id, **parameters).id)
        emulator.advance(1)
    return made[::-1]


@pytest.fixture
def files(client):
    """The ids of five files, the newest first."""
    return [upload(client, [make_line(f"r-{i}")]).id for i in range(5)][::-1]


def ids(page):
    return [item.id for item in page.data]


def raw(emulator, path):
    reply = call(emulator, "GET", path)
    assert reply.status == 200
    return reply


def test_batches_come_newest_first(client, batches):
    """The list of batches begins with the latest (platform.openai.com/docs/api-reference/batch/list)."""
    assert ids(client.batches.list()) == batches


def test_files_come_newest_first(client, files):
    """The list of files begins with the latest (platform.openai.com/docs/api-reference/files/list)."""
    assert ids(client.files.list()) == files


def test_files_can_come_oldest_first(client, files):
    """`order=asc` turns the list of files around (platform.openai.com/docs/api-reference/files/list)."""
    assert ids(client.files.list(order="asc")) == files[::-1]


@pytest.mark.parametrize("kind", ["batches", "files"])
def test_page_holds_so_many(request, client, kind):
    """A page ends after `limit` items and says that there are more."""
    every = request.getfixturevalue(kind)
    page = getattr(client, kind).list(limit=2)
    assert (ids(page), page.has_more) == (every[:2], True)


@pytest.mark.parametrize("kind", ["batches", "files"])
def test_page_after_an_item(request, client, kind):
    """A page goes on after the item that `after` names."""
    every = request.getfixturevalue(kind)
    page = getattr(client, kind).list(limit=2, after=every[1])
    assert (ids(page), page.has_more) == (every[2:4], True)


@pytest.mark.parametrize("kind", ["batches", "files"])
def test_last_page_says_so(request, client, kind):
    """The page that holds the last item has no more, even when it is full."""
    every = request.getfixturevalue(kind)
    page = getattr(client, kind).list(limit=2, after=every[2])
    assert (ids(page), page.has_more) == (every[3:], False)


@pytest.mark.parametrize("kind", ["batches", "files"])
def test_sdk_pages_by_itself(request, emulator, client, kind):
    """The SDK's own iteration meets every item once, over as many pages as it takes."""
    every = request.getfixturevalue(kind)
    before = len(emulator.calls)
    assert [item.id for item in getattr(client, kind).list(limit=2)] == every
    assert len(emulator.calls) - before >= 3


@pytest.mark.parametrize("kind", ["batches", "files"])
def test_page_names_its_ends(request, emulator, kind):
    """A page names its first and its last item (platform.openai.com/docs/api-reference/batch/list)."""
    every = request.getfixturevalue(kind)
    page = raw(emulator, f"/v1/{kind}?limit=3").json
    assert (page["object"], page["first_id"], page["last_id"]) == ("list", every[0], every[2])


@pytest.mark.parametrize("kind", ["batches", "files"])
def test_empty_page_has_no_ends(emulator, kind):
    """A list without items is an empty page."""
    assert raw(emulator, f"/v1/{kind}").json == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.parametrize(("kind", "most"), [("batches", 100), ("files", 10_000)])
def test_page_can_be_so_long(emulator, kind, most):
    """A page of batches holds up to 100 items, one of files 10,000 (platform.openai.com/docs/api-reference)."""
    raw(emulator, f"/v1/{kind}?limit={most}")
    reply = call(emulator, "GET", f"/v1/{kind}?limit={most + 1}")
    assert reply.status == 400
    assert reply.error == {
        "message": f"Invalid value: '{most + 1}'. Expected a whole number from 1 to {most}.",
        "type": "invalid_request_error",
        "param": "limit",
        "code": "invalid_value",
    }


@pytest.mark.parametrize("limit", ["0", "-1", "1.5", "many", "", "%C2%B2"])
def test_limit_is_a_whole_number(emulator, limit):
    """A limit that is no number from 1 on is refused, even when Python calls it a digit."""
    assert call(emulator, "GET", f"/v1/batches?limit={limit}").status == 400


def test_page_of_batches_holds_20_by_default(client):
    """The default page of batches has 20 items (platform.openai.com/docs/api-reference/batch/list)."""
    for _ in range(21):
        submit(client)
    page = client.batches.list()
    assert (len(page.data), page.has_more) == (20, True)


@pytest.mark.parametrize("kind", ["batches", "files"])
def test_unknown_cursor_is_refused(client, kind):
    """`after` must name an item of the list."""
    with pytest.raises(openai.BadRequestError) as caught:
        getattr(client, kind).list(after="unknown")
    assert caught.value.body["message"] == "Invalid value: 'unknown'. Expected the id of an item of this list."


@pytest.mark.parametrize("kind", ["batches", "files"])
def test_unknown_parameter_of_a_list_is_refused(emulator, kind):
    """A parameter that a list does not have is refused by name."""
    reply = call(emulator, "GET", f"/v1/{kind}?status=failed")
    assert (reply.status, reply.error["message"]) == (400, "Unknown parameter: 'status'.")


def test_order_of_files_is_one_of_two(emulator):
    """`order` is asc or desc (platform.openai.com/docs/api-reference/files/list)."""
    reply = call(emulator, "GET", "/v1/files?order=random")
    assert (reply.status, reply.error["param"]) == (400, "order")


def test_files_can_be_listed_by_purpose(client, files):
    """`purpose` keeps only files of that purpose (platform.openai.com/docs/api-reference/files/list)."""
    batch = run(client)
    assert ids(client.files.list(purpose="batch_output")) == [batch.output_file_id]
    assert ids(client.files.list(purpose="batch")) == [batch.input_file_id, *files]


def test_list_shows_batches_as_they_are_now(emulator, client):
    """A batch in the list is the batch as it would be retrieved."""
    emulator.change(validating=10)
    batch = submit(client)
    emulator.advance(10)
    assert client.batches.list().data[0].to_dict() == client.batches.retrieve(batch.id).to_dict()
