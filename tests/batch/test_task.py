import subprocess
import sys
from pathlib import Path

import pytest
from flytekit import ImageSpec, Resources, Secret, TaskMetadata
from flytekit.configuration import ImageConfig, SerializationSettings
from flytekit.models.security import Secret as SecretModel
from flytekit.types.file import JSONLFile

from flytekitplugins.openai import BatchResult, DownloadJSONFilesTask, OpenAIFileConfig, UploadJSONLFileTask
from flytekitplugins.openai._client import Account, sync_client
from flytekitplugins.openai._credentials import APIKey
from flytekitplugins.openai.batch.container import files
from flytekitplugins.openai.batch.task import OpenAIFileDefaultImages
from flytekitplugins.openai.emulator import CallFault, RequestFault
from flytekitplugins.openai.exceptions import (
    IncompleteFileError,
    InvalidInputError,
    MissingAPIKeyError,
    RefusedError,
    UnavailableError,
)
from tests.builders import make_client, make_jsonl, make_request, make_requests, serialize, upload

SECRET = Secret(group="team", key="key", group_version="2", mount_requirement=SecretModel.MountType.FILE)
ACCOUNT = Account(APIKey("sk-team", "a secret"))
TASKS = [UploadJSONLFileTask, DownloadJSONFilesTask]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """The pauses between attempts are not what is tested."""
    monkeypatch.setattr(files, "FIRST_PAUSE_SECONDS", 0)
    monkeypatch.setattr("flytekitplugins.openai._client.TRANSFER_RETRIES", 0)
    monkeypatch.setattr(files, "SIZE_RETRIES", 0)


@pytest.fixture
def team(openai_emulator, monkeypatch):
    """An emulator, and the secret that the tasks name."""
    monkeypatch.setenv("_FSEC_TEAM_2_KEY", "sk-team\n")
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("TEAM_2_KEY", "sk-team")
    return openai_emulator


def make_task(kind, *, name="files", organization=None, project=None, **arguments):
    return kind(name=name, task_config=OpenAIFileConfig(SECRET, organization, project), **arguments)


def write(path, content=None):
    path.write_bytes(make_jsonl(make_requests(3)) if content is None else content)
    return JSONLFile(str(path))


def run_batch(emulator, *faults):
    """A finished batch, as the batch step hands it on."""
    emulator.order(*faults)
    file_id = upload(emulator, make_requests(3))
    with make_client(emulator) as client:
        batch = client.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")
        return client.batches.retrieve(batch.id).to_dict()


def download(result):
    return make_task(DownloadJSONFilesTask)(batch_endpoint_result=result)


def download_one(file_id, target):
    with sync_client(ACCOUNT) as client:
        files.download_file(client, file_id, target, account=ACCOUNT)


def lines_of(file):
    return Path(file).read_bytes().splitlines()


# What is registered


@pytest.mark.parametrize(
    ("kind", "task_type"),
    [(UploadJSONLFileTask, "openai-batch-upload-file"), (DownloadJSONFilesTask, "openai-batch-download-files")],
)
def test_task_type_is_the_published_one(kind, task_type):
    """Operators' settings name it."""
    assert serialize(make_task(kind)).type == task_type


@pytest.mark.parametrize("kind", TASKS)
def test_custom_tells_the_executor_whose_account_to_use(kind):
    """The container gets the template and not the user's code."""
    expected = {
        "group": "team",
        "key": "key",
        "group_version": "2",
        "mount_requirement": SECRET.mount_requirement.value,
    }
    custom = serialize(make_task(kind, organization="org-1")).custom
    assert custom == {"openai_organization": "org-1", "secret_arg": expected}


@pytest.mark.parametrize("kind", TASKS)
def test_custom_has_the_project_where_there_is_one(kind):
    """Without one, the template is what the published package makes."""
    assert serialize(make_task(kind, project="proj-1")).custom["openai_project"] == "proj-1"


@pytest.mark.parametrize("kind", TASKS)
def test_executor_is_found_where_registered_tasks_look_for_it(kind):
    """Its path is written into registered tasks."""
    executor = kind.__name__.replace("Task", "Executor")
    assert serialize(make_task(kind)).container.args[-1] == f"flytekitplugins.openai.batch.task.{executor}"


@pytest.mark.parametrize("kind", TASKS)
def test_task_asks_flyte_for_its_secret(kind):
    """Flyte mounts what the task's security context names."""
    [secret] = serialize(make_task(kind)).security_context.secrets
    assert (secret.group, secret.key) == ("team", "key")


@pytest.mark.parametrize("kind", TASKS)
def test_task_may_ask_for_more_secrets(kind):
    """They come after its own."""
    more = Secret(group="other", key="key")
    secrets = serialize(make_task(kind, secret_requests=[more])).security_context.secrets
    assert [secret.group for secret in secrets] == ["team", "other"]


@pytest.mark.parametrize("kind", TASKS)
def test_task_runs_in_the_image_of_its_workflow(kind):
    """The published images hold the published package's code."""
    assert serialize(make_task(kind)).container.image == "registry.example/workflow:1"


@pytest.mark.parametrize("image", ["registry.example/mine:2", "{{.image.default.fqn}}:2"])
@pytest.mark.parametrize("kind", TASKS)
def test_task_runs_in_the_image_it_is_given(kind, image):
    """An image is a name or one of flytekit's templates."""
    expected = image.replace("{{.image.default.fqn}}", "registry.example/workflow")
    assert serialize(make_task(kind, container_image=image)).container.image == expected


@pytest.mark.parametrize("kind", TASKS)
def test_task_asks_for_700_mebibytes_by_default(kind):
    """As the published tasks do."""
    assert serialize(make_task(kind)).container.resources.requests[0].value == "700Mi"


@pytest.mark.parametrize("kind", TASKS)
def test_limits_of_the_user_are_not_below_the_default_request(kind):
    """Kubernetes refuses such a pod."""
    resources = serialize(make_task(kind, limits=Resources(mem="500Mi"))).container.resources
    assert (resources.requests, resources.limits[0].value) == ([], "500Mi")


@pytest.mark.parametrize("kind", TASKS)
def test_task_without_an_image_says_how_to_give_one(kind):
    """Settings made by hand may have no default image."""
    settings = SerializationSettings(image_config=ImageConfig())
    with pytest.raises(ValueError, match="No image is known for task 'files': register with --image, or pass con"):
        make_task(kind).get_image(settings)


@pytest.mark.parametrize("image", ["{{.image.other.fqn}}:1", ImageSpec(name="built", registry="registry.example")])
def test_local_run_needs_no_image(team, tmp_path, image):
    """None is looked up in settings that a local run does not have, and none is built."""
    task = make_task(UploadJSONLFileTask, container_image=image)
    assert task(jsonl_in=write(tmp_path / "requests.jsonl")).startswith("file-")


def test_default_images_are_those_of_the_published_package():
    """Users who name them get the same images as before."""
    image = OpenAIFileDefaultImages.find_image_for(flytekit_version="v1.16.3")
    assert image.startswith("cr.flyte.org/flyteorg/flytekit:py3.")
    assert image.endswith("-openai-batch-1.16.3")


# Upload


def test_upload_gives_the_id_of_a_batch_file(team, tmp_path):
    """The batch step takes the id."""
    file_id = make_task(UploadJSONLFileTask)(jsonl_in=write(tmp_path / "requests.jsonl"))
    with make_client(team) as client:
        uploaded = client.files.retrieve(file_id)
        assert client.files.content(file_id).content == make_jsonl(make_requests(3))
    assert (uploaded.filename, uploaded.purpose) == ("requests.jsonl", "batch")


def test_upload_uses_the_stripped_secret_and_the_account(team, tmp_path):
    """A key with a newline at its end would be a "Connection error."."""
    task = make_task(UploadJSONLFileTask, organization="org-1", project="proj-1")
    task(jsonl_in=write(tmp_path / "requests.jsonl"))
    [call] = team.calls
    seen = (call.key, call.headers["openai-organization"], call.headers["openai-project"])
    assert seen == ("sk-team", "org-1", "proj-1")


def test_upload_of_an_empty_file_is_refused_before_it_is_sent(team, tmp_path):
    """One sentence says which file."""
    with pytest.raises(InvalidInputError) as raised:
        make_task(UploadJSONLFileTask)(jsonl_in=write(tmp_path / "none.jsonl", b""))
    assert str(raised.value) == (
        "The input 'none.jsonl' was not submitted: it has no requests, and a batch needs at least one."
    )
    assert not team.calls


def test_input_without_an_ending_has_no_name_worth_telling(team, tmp_path):
    """flytekit calls what an iterator yields by a random number."""
    with pytest.raises(InvalidInputError, match="The input was not submitted: it has no requests"):
        make_task(UploadJSONLFileTask)(jsonl_in=write(tmp_path / "0395e41c3b87", b""))


def test_upload_of_what_is_not_jsonl_is_refused_before_it_is_sent(team, tmp_path):
    """OpenAI would look at the first line during the upload, and at the others a while after it."""
    with pytest.raises(InvalidInputError) as raised:
        make_task(UploadJSONLFileTask)(jsonl_in=write(tmp_path / "notes.jsonl", b"hello\n"))
    assert str(raised.value) == (
        "The input 'notes.jsonl' was not submitted: 1 problem: line 1 is not valid JSON (Expecting value at column 1)."
    )
    assert not [call for call in team.calls if call.method == "POST"]


def test_upload_takes_the_requests_of_any_one_endpoint(team, tmp_path):
    """Which one the batch is for, only the batch step knows."""
    body = {"model": "gpt-4o-mini", "input": "Hello"}
    lines = make_jsonl([{**make_request(name, url="/v1/responses"), "body": body} for name in "ab"])
    assert make_task(UploadJSONLFileTask)(jsonl_in=write(tmp_path / "in.jsonl", lines)).startswith("file-")


def test_upload_of_more_than_a_file_takes_names_what_does(team, tmp_path):
    """It gives one file's id; `create_batch` uploads any number of them."""
    lines = make_jsonl([make_request("a", model="gpt-4o"), make_request("b", model="gpt-5")])
    with pytest.raises(InvalidInputError, match=r"line 2 does not fit into one batch .* create_batch splits an input"):
        make_task(UploadJSONLFileTask)(jsonl_in=write(tmp_path / "in.jsonl", lines))


def test_upload_without_a_key_is_refused_before_anything_is_sent(team, tmp_path, monkeypatch):
    """Nothing is half done."""
    for name in ("_FSEC_TEAM_2_KEY", "TEAM_2_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(MissingAPIKeyError):
        make_task(UploadJSONLFileTask)(jsonl_in=write(tmp_path / "requests.jsonl"))
    assert not team.calls


def test_upload_that_is_refused_for_now_is_retried(team, tmp_path, monkeypatch):
    """The SDK sends the open file again from its beginning."""
    monkeypatch.setattr("flytekitplugins.openai._client.TRANSFER_RETRIES", 1)
    team.order(CallFault(method="POST", path="/v1/files", status=503, headers={"retry-after-ms": "1"}))
    file_id = make_task(UploadJSONLFileTask)(jsonl_in=write(tmp_path / "requests.jsonl"))
    with make_client(team) as client:
        assert client.files.retrieve(file_id).bytes == len(make_jsonl(make_requests(3)))


@pytest.mark.parametrize("body", ["null", "[]", "{}", '{"id": ""}', '"text"'])
def test_upload_does_not_take_anything_for_a_file(team, tmp_path, body):
    """A batch of no file would fail a day later."""
    team.order(CallFault(method="POST", path="/v1/files", body=body))
    with pytest.raises(UnavailableError, match="the response was not a file"):
        make_task(UploadJSONLFileTask)(jsonl_in=write(tmp_path / "requests.jsonl"))


# Download


def test_download_acts_for_the_account_of_the_task(team):
    """As the upload does."""
    batch = run_batch(team)
    with make_client(team, project="proj-1") as client:
        assert client.files.list().data == []
    with pytest.raises(RefusedError, match="Could not download"):
        make_task(DownloadJSONFilesTask, project="proj-1")(batch_endpoint_result=batch)
    assert {call.headers.get("openai-project") for call in team.calls[-2:]} == {"proj-1"}


def test_download_leaves_out_an_empty_file(team):
    """Azure makes one when nothing failed."""
    team.order(CallFault(path="*/file-empty/content", body=""), CallFault(path="*/file-empty", status=404))
    assert download({"id": "batch_1", "error_file_id": "file-empty"}).error_file is None


@pytest.mark.parametrize("body", ["null", "[]", "{", '"text"', '{"bytes": "700"}', '{"bytes": true}', '{"bytes": 0}'])
def test_download_goes_by_the_reply_where_the_files_api_tells_no_size(team, body):
    """Servers differ in what they know of a file."""
    batch = run_batch(team)
    team.order(CallFault(path=f"/v1/files/{batch['output_file_id']}", body=body))
    assert len(lines_of(download(batch).output_file)) == 3


def test_download_writes_into_the_working_directory_of_the_task(team):
    """Flyte's sandbox, and not wherever the process happens to be."""
    result = download(run_batch(team))
    assert Path(result.output_file).name == "output_file.jsonl"
    assert Path.cwd() not in Path(result.output_file).resolve().parents


def test_download_fetches_both_files(team):
    """Each request is in one of them."""
    result = download(run_batch(team, RequestFault(custom_id="r-1", status=400, code="bad")))
    assert isinstance(result, BatchResult)
    assert (len(lines_of(result.output_file)), len(lines_of(result.error_file))) == (2, 1)


@pytest.mark.parametrize("absent", [None, ""])
def test_download_leaves_out_a_file_that_is_not_there(team, absent):
    """A batch without errors has no error file, which servers write in several ways."""
    result = download({**run_batch(team), "error_file_id": absent})
    assert result.error_file is None


def test_download_reads_a_result_without_the_ids(team):
    """A compatible server may leave them out."""
    result = download({"id": "batch_1"})
    assert (result.output_file, result.error_file) == (None, None)


def test_download_leaves_a_report(team, capsys):
    """A local run says where it is."""
    result = download(run_batch(team))
    assert "3 of 3 requests succeeded" in Path(result.report).read_text()
    assert f"the report is at {Path(result.report).as_uri()}\n" in capsys.readouterr().err


def test_deck_of_one_task_is_not_that_of_another():
    """flytekit notes it in the metadata, which the two may share."""
    shared = TaskMetadata(retries=2)
    download, upload = (make_task(kind, metadata=shared) for kind in (DownloadJSONFilesTask, UploadJSONLFileTask))
    decks = [serialize(task).metadata.generates_deck for task in (download, upload)]
    assert (decks, shared.generates_deck) == ([True, False], False)


def test_download_does_without_a_deck_if_asked():
    """Also by flytekit's older argument."""
    with pytest.warns(FutureWarning, match="disable_deck was deprecated"):
        assert not make_task(DownloadJSONFilesTask, disable_deck=True).enable_deck
    assert not make_task(DownloadJSONFilesTask, enable_deck=False).enable_deck
    assert make_task(DownloadJSONFilesTask).enable_deck


@pytest.mark.parametrize("hide_length", [False, True])
def test_download_that_is_cut_short_is_fetched_again(team, hide_length):
    """Without Content-Length a cut looks like the end, and only the Files API knows better."""
    batch = run_batch(team, CallFault(path="*/content", truncate=100, hide_length=hide_length, times=2))
    assert len(lines_of(download(batch).output_file)) == 3


def test_download_that_stays_cut_short_fails_and_leaves_nothing(team, tmp_path):
    """Half a result is worse than none."""
    batch = run_batch(team, CallFault(path="*/content", truncate=100, hide_length=True, times=None))
    with pytest.raises(IncompleteFileError) as raised:
        download_one(batch["output_file_id"], tmp_path / "output.jsonl")
    assert "100 of " in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def fetch_without_a_length(team, target, *, truncate):
    """Download an output file that neither the reply nor the Files API tells the length of."""
    batch = run_batch(team)
    team.order(CallFault(path="*/content", truncate=truncate, hide_length=True, times=None))
    team.order(CallFault(path="/v1/files/*", status=404, times=None))
    download_one(batch["output_file_id"], target)


def test_download_of_unknown_length_is_whole_when_it_ends_with_a_line(team, tmp_path):
    """Without an announced length, a complete last line is the only evidence."""
    fetch_without_a_length(team, tmp_path / "output.jsonl", truncate=10**6)
    assert len(lines_of(tmp_path / "output.jsonl")) == 3


def test_download_of_unknown_length_that_breaks_off_within_a_line_fails(team, tmp_path):
    """Half a line is not JSON."""
    with pytest.raises(IncompleteFileError, match="it ends in the middle of a line"):
        fetch_without_a_length(team, tmp_path / "output.jsonl", truncate=100)


@pytest.mark.parametrize(
    "fault", [CallFault(path="*/content", status=502, times=2), CallFault(path="*/content", drop=True)]
)
def test_download_survives_what_passes(team, fault):
    """OpenAI has been seen to answer 502 to a download."""
    batch = run_batch(team, fault)
    assert len(lines_of(download(batch).output_file)) == 3


def test_download_of_a_server_that_stays_away_may_be_retried(team):
    """Flyte counts it against the task's retries."""
    batch = run_batch(team, CallFault(path="*/content", status=502, times=None))
    team.calls.clear()
    with pytest.raises(UnavailableError):
        download(batch)
    assert len(team.calls) == files.ATTEMPTS


def test_download_of_a_file_that_is_gone_is_final(team):
    """OpenAI keeps results for 30 days."""
    with pytest.raises(RefusedError, match="Could not download file 'file-gone': OpenAI refused"):
        download({"id": "batch_1", "output_file_id": "file-gone"})


# What it costs


MEASURE = """
import sys
from pathlib import Path
from flytekitplugins.openai._client import Account
from flytekitplugins.openai._credentials import APIKey
from flytekitplugins.openai._client import sync_client
from flytekitplugins.openai.batch.container.files import download_file, upload_file

def peak():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024

small, large, back = map(Path, sys.argv[1:])
account = Account(APIKey("sk-team", "a secret"))
with sync_client(account) as client:
    download_file(client, upload_file(client, small, name=small.name, account=account), back, account=account)
    before = peak()
    download_file(client, upload_file(client, large, name=large.name, account=account), back, account=account)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_files_are_streamed(team, tmp_path):
    """A Path given to the SDK costs three times its file in memory, and a whole download twice."""
    small, large, back = (tmp_path / name for name in ("small.jsonl", "large.jsonl", "back.jsonl"))
    line = make_jsonl([make_request(content="x" * 10_000)])
    small.write_bytes(line)
    with large.open("wb") as lines:
        for _ in range(6_000):
            lines.write(line)
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, small, large, back], capture_output=True, text=True, check=True
    )
    assert back.stat().st_size == large.stat().st_size > 60_000_000
    assert float(run.stdout) < 30
