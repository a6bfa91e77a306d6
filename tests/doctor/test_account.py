"""What the doctor tells about keys, permissions, network and clock, against the emulator over HTTP."""

import signal
import socket
import subprocess
import sys
import time
from email.utils import formatdate

import pytest

from flytekitplugins.openai.doctor import account, caller, permissions
from flytekitplugins.openai.emulator import CallFault, RequestFault
from tests.builders import make_client, start_deaf_listener

EVERYTHING = {"api.files.read", "api.files.write", "api.batches.read", "api.batches.write", "model.request"}
KEY_LINES = {"accepted", "list batches", "create batches", "cancel batches", "read files", "delete files"}
NO_CONNECTION = "; check OPENAI_BASE_URL, network, DNS, proxy and certificates"


@pytest.fixture
def files_left(emulator):
    """A function: the names of the files at the emulator, of any of these keys."""

    def files_left(*keys):
        emulator.clear_faults()
        emulator.change(scopes={}, keys=emulator.settings.keys)
        found = []
        for key in keys or ["sk-operator"]:
            with make_client(emulator, api_key=key) as client:
                found += [file.filename for file in client.files.list()]
        return found

    return files_left


def restrict(emulator, *missing):
    emulator.change(scopes={"sk-operator": EVERYTHING - set(missing), "sk-team": EVERYTHING - set(missing)})


def refuse(path="/v1/batches", method="*", times=None, **fault):
    return lambda emulator: emulator.order(CallFault(method=method, path=path, times=times, **fault))


def lacking(scope):
    return f"the key is not allowed to (401, missing {scope}); give it the permission on OpenAI's platform"


def no_call(status):
    return f"the server has no such call ({status}); correct OPENAI_BASE_URL, or use a server that has it"


# The line that fails, what is wrong, and what the line says.
FAULTS = [
    ("list batches", lambda e: restrict(e, "api.batches.read"), lacking("api.batches.read")),
    ("create batches", lambda e: restrict(e, "api.batches.write"), lacking("api.batches.write")),
    ("cancel batches", lambda e: restrict(e, "api.batches.write"), lacking("api.batches.write")),
    ("upload key: write files", lambda e: restrict(e, "api.files.write"), lacking("api.files.write")),
    ("key: read files", lambda e: restrict(e, "api.files.read"), lacking("api.files.read")),
    ("upload key: read files", lambda e: restrict(e, "api.files.read"), lacking("api.files.read")),
    ("key: delete files", lambda e: restrict(e, "api.files.write"), lacking("api.files.write")),
    (
        "list batches",
        refuse(status=403, code="forbidden"),
        "the key is not allowed to (403 forbidden); give it the permission on OpenAI's platform, or ask who runs the "
        "server",
    ),
    (
        "list batches",
        refuse(method="GET", status=403, message="You have insufficient permissions for this operation."),
        "the key is not allowed to (403); give it the permission on OpenAI's platform",
    ),
    ("create batches", refuse(method="POST", status=404), no_call(404)),
    ("create batches", refuse(method="POST", status=405), no_call(405)),
    ("cancel batches", refuse("/v1/batches/*", status=404, code="unknown_url"), no_call("404 unknown_url")),
    ("cancel batches", refuse("/v1/batches/*", status=501), no_call(501)),
    (
        "cancel batches",
        refuse("/v1/batches/*", status=503),
        "OpenAI is unavailable or busy (503); run this again later",
    ),
    (
        "create batches",
        refuse(method="POST", status=429, code="rate_limit_exceeded"),
        "OpenAI is unavailable or busy (429 rate_limit_exceeded); run this again later",
    ),
    (
        "create batches",
        refuse(method="POST", status=429, code="insufficient_quota"),
        "the account has no credit left (429 insufficient_quota); add some on OpenAI's platform",
    ),
    (
        "upload key: write files",
        refuse("/v1/files", method="POST", status=400, message="Files are full."),
        "OpenAI refused it (400: Files are full); ask who runs the server",
    ),
    (
        "upload key: write files",
        refuse("/v1/files", method="POST", status=200, body="{}"),
        "the answer is not a file; check OPENAI_BASE_URL",
    ),
]


@pytest.fixture
def both_keys(emulator, monkeypatch):
    """The connector's key and that of the upload step, of one project."""
    monkeypatch.setenv("_FSEC_TEAM_KEY", "sk-team")
    return emulator


def test_all_is_well(emulator, diagnose, files_left):
    """A line for each check, and exit status 0; nothing stays at OpenAI."""
    status, lines = diagnose("--connector")
    assert status == 0
    assert {name: outcome for name, (outcome, _) in lines.items() if outcome != "ok"} == {"write files": "skipped"}
    assert set(lines) == {"versions", "connector extra", "key", "base URL", "clock", "write files", *KEY_LINES}
    assert lines["write files"][1] == (
        "not checked, because the connector does not upload; --upload-secret GROUP/KEY checks the key of the upload "
        "step"
    )
    with make_client(emulator, api_key="sk-operator") as client:
        assert client.batches.list().data == []
    assert files_left() == []


def test_local_run_checks_the_one_key_for_everything(openai_emulator, diagnose, files_left):
    """The file is written, read and deleted."""
    status, lines = diagnose("--no-connector")
    assert status == 0
    assert {lines[name] for name in ("write files", "read files", "delete files")} == {("ok", "allowed")}
    assert "connector extra" not in lines
    made = [
        (call.method, call.path.removeprefix("/v1/files")) for call in openai_emulator.calls if "/files" in call.path
    ]
    assert [method for method, _ in made] == ["POST", "GET", "DELETE"]
    assert made[1][1] == made[2][1] != f"/{permissions.NO_FILE}"
    assert files_left("sk-emulator") == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault[0]}: {fault[2]}"[:60])
def test_fault_of_a_key_is_told(both_keys, diagnose, files_left, fault):
    """Each line is shown failing, with what to do; and the others are told all the same."""
    line, break_it, text = fault
    break_it(both_keys)
    status, lines = diagnose("--connector", "--upload-secret", "team/key")
    name = line if line in lines else f"key: {line}"
    assert (status, lines[name]) == (1, ("failed", text))
    assert {f"key: {name}" for name in KEY_LINES} <= set(lines)
    assert files_left("sk-operator", "sk-team") == []


@pytest.mark.parametrize(
    ("break_it", "text"),
    [
        (
            lambda emulator: emulator.change(keys={"sk-other": "proj_a"}),
            "OpenAI does not know the key (401 invalid_api_key); store a valid one, and restart the connector if it is "
            "in a variable",
        ),
        (
            refuse(status=403, code="unsupported_country_region_territory"),
            "OpenAI does not serve the country of this network (403 unsupported_country_region_territory); use another "
            "one",
        ),
        (
            refuse(status=401, code="ip_not_authorized"),
            "the project does not allow this network (401 ip_not_authorized); add its address on OpenAI's platform",
        ),
        (
            refuse(status=401, code="mismatched_organization"),
            "the key is of another organization (401 mismatched_organization); correct or unset OPENAI_ORG_ID",
        ),
    ],
)
def test_refused_key_is_told_once(emulator, diagnose, break_it, text):
    """What it may do cannot be said then; the server and its clock were checked."""
    break_it(emulator)
    status, lines = diagnose("--connector")
    assert (status, lines["accepted"]) == (1, ("failed", text))
    assert lines["base URL"][0] == lines["clock"][0] == "ok"
    skipped = {lines[name] for name in KEY_LINES - {"accepted"}}
    assert skipped == {("skipped", "not checked, because the key is not accepted")}


def test_wrong_project_is_told(emulator, diagnose, monkeypatch):
    """The variable that names it is told."""
    emulator.change(keys={"sk-operator": "proj_a"})
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj_b")
    _, lines = diagnose("--connector")
    assert lines["accepted"] == (
        "failed",
        "the key is of another project (401 mismatched_project); correct or unset OPENAI_PROJECT_ID",
    )


@pytest.mark.parametrize(
    ("code", "name"),
    [("mismatched_organization", "FLYTE_OPENAI_ORG_ID"), ("mismatched_project", "FLYTE_OPENAI_PROJECT_ID")],
)
def test_secret_of_a_projects_wrong_name_is_told(emulator, diagnose, monkeypatch, code, name):
    """The environment's organization and project belong to the common key alone."""
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY__ADS", "sk-ads")
    monkeypatch.setenv(f"_FSEC_{name}__ADS", "its-name")
    refuse(status=401, code=code)(emulator)
    _, lines = diagnose("--connector")
    assert lines["key of ads"][1].endswith(f", {code.removeprefix('mismatched_')} 'its-name'")
    assert lines["key of ads: accepted"][1].endswith(f"(401 {code}); correct or unset the secret '{name}__ads'")
    assert lines["key: accepted"][1].endswith(f"; correct or unset {name.removeprefix('FLYTE_')}")


def test_refused_key_that_the_connector_does_not_use_needs_no_restart(both_keys, diagnose):
    """The upload step reads its key each time, and so does a local run."""
    both_keys.change(keys={"sk-other": "proj_a"})
    text = "OpenAI does not know the key (401 invalid_api_key); store a valid one"
    _, lines = diagnose("--connector", "--upload-secret", "team/key")
    assert lines["upload key: accepted"] == ("failed", text)
    assert lines["key: accepted"] == ("failed", f"{text}, and restart the connector if it is in a variable")
    assert diagnose("--no-connector")[1]["accepted"] == ("failed", text)


@pytest.mark.parametrize("path", ["*", "/v1/batches", "/v1/batches/*", "/v1/files*"])
@pytest.mark.parametrize("fault", [{"status": 401}, {"status": 403}, {"status": 400}, {"status": 418}, {"drop": True}])
def test_key_is_never_shown(emulator, diagnose, monkeypatch, path, fault):
    """Not even if the server repeats it."""
    secret = "sk-very-secret"
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY", secret)
    message = f"Incorrect API key provided: {secret}. Missing scopes: {secret}"
    emulator.order(CallFault(path=path, times=None, message=message, **fault))
    assert secret not in str(diagnose("--connector"))


def test_password_of_the_base_url_is_never_shown(emulator, diagnose, monkeypatch):
    """It may be a key, too."""
    monkeypatch.setenv("OPENAI_BASE_URL", emulator.base_url.replace("//", "//me:secret@"))
    assert "secret@" not in str(diagnose("--connector")[1]["base URL"])


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (
            "http://127.0.0.1:9/v1",
            f"no connection to http://127.0.0.1:9/v1 ([Errno 111] Connection refused){NO_CONNECTION}",
        ),
        (
            "http://host.invalid/v1",
            f"no connection to http://host.invalid/v1 ([Errno -2] Name or service not known){NO_CONNECTION}",
        ),
        (
            "127.0.0.1/v1",
            "no connection to 127.0.0.1/v1 (Request URL is missing an 'http://' or 'https://' protocol)"
            + NO_CONNECTION,
        ),
    ],
)
def test_server_that_is_not_reached_is_told(emulator, diagnose, monkeypatch, url, text):
    """In the words of the system; nothing else is asked."""
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    ask = socket.getaddrinfo

    def look_up(host, *rest, **named):
        # Whether a DNS server answers in time is not what is tested.
        if host in ("host.invalid", b"host.invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ask(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    status, lines = diagnose("--connector")
    assert (status, lines["base URL"]) == (1, ("failed", text))
    skipped = {lines[name] for name in {"clock", *KEY_LINES}}
    assert skipped == {("skipped", "not checked, because OpenAI was not reached")}


def test_certificate_is_told(emulator, diagnose, monkeypatch):
    """As with a proxy that speaks no TLS."""
    monkeypatch.setenv("OPENAI_BASE_URL", emulator.base_url.replace("http:", "https:"))
    _, lines = diagnose("--connector")
    assert "([SSL" in lines["base URL"][1]


def test_server_that_does_not_answer_is_told_soon(emulator, diagnose, monkeypatch):
    """Behind a firewall that drops what comes."""
    monkeypatch.setattr(caller, "CALL_SECONDS", 0.5)
    with start_deaf_listener() as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        started = time.monotonic()
        _, lines = diagnose("--connector")
    assert lines["base URL"][0] == "failed"
    assert lines["base URL"][1].startswith(f"{url} did not answer within")
    assert time.monotonic() - started < 5


def test_slow_server_ends_the_checks(emulator, diagnose, monkeypatch):
    """All calls together take no longer than the time for all checks, and what is left says so."""
    monkeypatch.setattr(account, "TOTAL_SECONDS", 1.0)
    emulator.order(CallFault(times=None, delay=0.4))
    started = time.monotonic()
    status, lines = diagnose("--connector")
    assert status == 1
    assert "the time for all checks, 1 seconds, was up; run this again" in {text for _, text in lines.values()}
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("name", "value"), [("ALL_PROXY", "carrier-pigeon://host"), ("SSL_CERT_FILE", "/no/such/file.pem")]
)
def test_environment_that_no_client_can_be_made_in_is_told(emulator, diagnose, monkeypatch, name, value):
    """The SDK would raise an error of its own."""
    monkeypatch.setenv(name, value)
    outcome, text = diagnose("--connector")[1]["base URL"]
    assert outcome == "failed"
    assert text.startswith("no client could be made (")
    assert text.endswith("); check HTTPS_PROXY and SSL_CERT_FILE")


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"status": 404}, no_call(404)),
        ({"status": 407}, "the proxy asks for a password (407); put it into HTTPS_PROXY"),
        ({"status": 502, "body": "<html>"}, "OpenAI is unavailable or busy (502); run this again later"),
    ],
)
def test_server_without_the_api_is_told(emulator, diagnose, fault, text):
    """As when the base URL lacks its `/v1`."""
    emulator.order(CallFault(times=None, **fault))
    status, lines = diagnose("--connector")
    assert (status, lines["base URL"]) == (1, ("failed", f"{emulator.base_url}: {text}"))


@pytest.mark.parametrize("body", ["<html>Sign in</html>", '"ok"', "[]", ""])
def test_page_in_the_apis_place_is_told(emulator, diagnose, body):
    """As a proxy answers that wants a person to sign in."""
    emulator.order(CallFault(times=None, status=200, body=body))
    _, lines = diagnose("--connector")
    text = f"{emulator.base_url} does not answer with JSON; check the proxy, and whether OPENAI_BASE_URL ends in /v1"
    assert lines["base URL"] == ("failed", text)


def date_answers(emulator, seconds):
    """Have the emulator's first answer say a time that is off by so many seconds."""
    headers = {"Date": formatdate(time.time() + seconds, usegmt=True)}
    emulator.order(CallFault(status=200, body='{"data": []}', headers=headers))


@pytest.mark.parametrize(("seconds", "words"), [(3_600, "behind"), (-3_600, "ahead of")])
def test_wrong_clock_is_told(emulator, diagnose, seconds, words):
    """By how much, and in which direction."""
    date_answers(emulator, seconds)
    status, lines = diagnose("--connector")
    outcome, text = lines["clock"]
    assert (status, outcome) == (1, "failed")
    assert text.endswith(f" seconds {words} the server's; set this machine's clock")
    assert 3_595 <= int(text.split()[0].replace(",", "")) <= 3_605


@pytest.mark.parametrize("seconds", [-50, 50])
def test_clock_may_be_a_little_off(emulator, diagnose, seconds):
    """Nothing here counts seconds."""
    date_answers(emulator, seconds)
    assert diagnose("--connector")[1]["clock"] == ("ok", "agrees with the server's")


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_server_may_not_date_its_answers(emulator, diagnose, date):
    """Then the clock is not checked, which is no failure."""
    emulator.order(CallFault(times=1, status=400, headers={"Date": date}))
    status, lines = diagnose("--connector")
    assert lines["clock"] == ("skipped", "not checked, because the server does not date its answers")
    assert status == 0


def test_no_key_is_told(emulator, diagnose, monkeypatch):
    """And still whether the server is reached, and what time it has."""
    emulator.change(keys={"sk-other": "proj_a"})
    monkeypatch.delenv("_FSEC_FLYTE_OPENAI_API_KEY")
    status, lines = diagnose("--connector")
    assert (status, lines["key"][0], lines["base URL"][0], lines["clock"][0]) == (1, "failed", "ok", "ok")
    assert {lines[name] for name in KEY_LINES} == {("skipped", "not checked, because there is no key")}


def test_server_that_creates_a_batch_of_nothing_is_told_to_stop(emulator, diagnose):
    """A compatible server may."""
    emulator.order(
        CallFault(method="POST", path="/v1/batches", status=200, body='{"id": "batch_1", "status": "queued"}')
    )
    assert diagnose("--connector")[1]["create batches"] == ("ok", "allowed")
    cancelled = [call.path for call in emulator.calls if call.path.endswith("/cancel")]
    assert cancelled == ["/v1/batches/batch_1/cancel", f"/v1/batches/{permissions.NO_BATCH}/cancel"]


@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_compatible_servers_refuse_what_is_absent_in_their_way(emulator, diagnose, status):
    """Each way says that the key was allowed to ask."""
    for path in ("/v1/batches/*", "/v1/files/*"):
        emulator.order(CallFault(path=path, times=None, status=status))
    status, lines = diagnose("--connector")
    assert (status, lines["cancel batches"], lines["read files"]) == (0, ("ok", "allowed"), ("ok", "allowed"))


def test_file_that_cannot_be_deleted_is_told(openai_emulator, diagnose):
    """By its id, so that a person can."""
    openai_emulator.order(CallFault(method="DELETE", status=503, times=None))
    _, lines = diagnose("--no-connector")
    with make_client(openai_emulator, api_key="sk-emulator") as client:
        [file] = client.files.list()
    text = (
        "OpenAI is unavailable or busy (503); run this again later; "
        f"file {file.id!r} is left at OpenAI, delete it there"
    )
    assert lines["delete files"] == ("failed", text)


def test_keys_of_one_project_see_the_same_files(both_keys, diagnose, files_left):
    """The upload step's key uploads, and the connector's looks it up, also if it cannot be seen at once."""
    both_keys.change(hide_files=1)
    status, lines = diagnose("--connector", "--upload-secret", "team/key")
    assert (status, lines["same files"]) == (0, ("ok", "the connector's key sees what the upload step's key uploads"))
    assert lines["upload key"] == ("ok", "secret 'team/key', from the variable _FSEC_TEAM_KEY")
    assert {lines[f"upload key: {name}"][0] for name in ("write files", "read files", "delete files")} == {"ok"}
    assert "key: write files" not in lines


@pytest.mark.long
def test_keys_of_two_projects_are_told(both_keys, diagnose, files_left):
    """The batch step would not find its file."""
    both_keys.change(keys={"sk-operator": "proj_a", "sk-team": "proj_b"})
    status, lines = diagnose("--connector", "--upload-secret", "team/key")
    text = (
        "the connector's key does not see what the upload step's key uploads; give both steps keys of the same project"
    )
    assert (status, lines["same files"]) == (1, ("failed", text))
    assert files_left("sk-operator", "sk-team") == []


@pytest.mark.parametrize(
    ("key", "scope", "line"),
    [("sk-team", "api.files.write", "upload key: write files"), ("sk-operator", "api.files.read", "key: read files")],
)
def test_files_are_not_compared_without_the_permissions(both_keys, diagnose, key, scope, line):
    """One line says what to do, and not two."""
    both_keys.change(scopes={key: EVERYTHING - {scope}})
    _, lines = diagnose("--connector", "--upload-secret", "team/key")
    assert lines[line] == ("failed", lacking(scope))
    assert lines["same files"] == ("skipped", f"not checked, because {line!r} failed")


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (
            CallFault(method="POST", path="/v1/files", status=503, skip=1),
            "could not upload with the upload step's key: ",
        ),
        (
            CallFault(method="GET", path="/v1/files/*", status=503, skip=2),
            "could not look up with the connector's key: ",
        ),
    ],
)
def test_files_that_cannot_be_compared_are_told(both_keys, diagnose, files_left, fault, text):
    """With the step whose call failed."""
    both_keys.order(fault)
    outcome = diagnose("--connector", "--upload-secret", "team/key")[1]["same files"]
    assert outcome == ("failed", f"{text}OpenAI is unavailable or busy (503); run this again later")
    assert files_left("sk-operator", "sk-team") == []


def test_compared_file_that_cannot_be_deleted_is_told(both_keys, diagnose):
    """By its id."""
    both_keys.order(CallFault(method="DELETE", status=503, times=None, skip=2))
    outcome, text = diagnose("--connector", "--upload-secret", "team/key")[1]["same files"]
    assert outcome == "failed"
    assert text.startswith("could not delete with the upload step's key: OpenAI is unavailable or busy (503)")
    assert " is left at OpenAI, delete it there" in text


@pytest.mark.parametrize("missing", ["_FSEC_FLYTE_OPENAI_API_KEY", "_FSEC_TEAM_KEY"])
def test_one_of_two_keys_may_be_missing(both_keys, diagnose, monkeypatch, missing):
    """The other is checked all the same."""
    monkeypatch.delenv(missing)
    _, lines = diagnose("--connector", "--upload-secret", "team/key")
    names = {"_FSEC_TEAM_KEY": ("key", "upload key"), "_FSEC_FLYTE_OPENAI_API_KEY": ("upload key", "key")}
    there, gone = names[missing]
    assert (lines[f"{there}: accepted"][0], lines[gone][0]) == ("ok", "failed")
    no_key = ("skipped", "not checked, because there is no key")
    assert lines[f"{gone}: accepted"] == lines["same files"] == no_key


@pytest.mark.parametrize("lost", [{"drop": True}, {"status": 502}, {"status": 200, "body": "<html>"}])
def test_upload_whose_answer_is_lost_leaves_nothing(openai_emulator, diagnose, files_left, lost):
    """The file is found by its name."""
    openai_emulator.order(CallFault(method="POST", path="/v1/files", after_work=True, **lost))
    assert diagnose("--no-connector")[1]["write files"][0] == "failed"
    assert files_left("sk-emulator") == []


# A real batch.


def submit(diagnose, *arguments):
    return diagnose("--no-connector", "--submit", *arguments)[1]["real batch"]


def test_real_batch_is_run_and_cleaned_up(openai_emulator, diagnose, files_left):
    """Its request is answered by the model that was asked for."""
    asked = []
    openai_emulator.respond(lambda request: asked.append(request.body["model"]) or "yes")
    outcome, text = submit(diagnose, "--model", "gpt-5")
    assert outcome == "ok"
    assert text.startswith("'batch_")
    assert text.endswith(", and its files are deleted")
    assert asked == ["gpt-5"]
    assert files_left("sk-emulator") == []


def test_real_batch_uploads_with_the_upload_steps_key(both_keys, diagnose):
    """As a workflow does."""
    _, lines = diagnose("--connector", "--upload-secret", "team/key", "--submit")
    assert lines["real batch"][0] == "ok"
    created = [call for call in both_keys.calls if (call.method, call.path) == ("POST", "/v1/batches")]
    uploaded = [call for call in both_keys.calls if (call.method, call.path) == ("POST", "/v1/files")]
    assert (created[-1].key, uploaded[-1].key) == ("sk-operator", "sk-team")


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (
            lambda e: e.order(CallFault(method="POST", path="/v1/files", status=503, skip=1)),
            "could not upload its file: ",
        ),
        (
            lambda e: e.order(CallFault(method="POST", path="/v1/files", status=200, body="[]", skip=1)),
            "could not upload its file: the answer is not a file; check",
        ),
        (
            lambda e: e.order(CallFault(method="POST", path="/v1/batches", status=503, skip=1)),
            "could not create it: OpenAI is un",
        ),
        (
            lambda e: e.order(CallFault(method="POST", path="/v1/batches", status=200, body="{}", skip=1)),
            "could not create it: the answer is not a batch; check",
        ),
        (lambda e: e.change(models=("other",)), " is failed: [{"),
        (lambda e: e.order(RequestFault(status=429, code="slow_down")), "its request failed: {"),
        (
            lambda e: e.order(CallFault(path="*/content", status=503)),
            "could not read its result: OpenAI is unavailable",
        ),
    ],
)
def test_real_batch_that_fails_is_told(openai_emulator, diagnose, files_left, break_it, words):
    """With OpenAI's reason; its files are deleted all the same."""
    break_it(openai_emulator)
    outcome, text = submit(diagnose)
    assert outcome == "failed"
    assert words in text
    assert files_left("sk-emulator") == []


def test_real_batch_whose_creation_is_not_answered_is_found(openai_emulator, diagnose, files_left):
    """It runs all the same."""
    openai_emulator.order(CallFault(method="POST", path="/v1/batches", drop=True, after_work=True, skip=1))
    assert submit(diagnose)[0] == "ok"
    with make_client(openai_emulator, api_key="sk-emulator") as client:
        assert [batch.status for batch in client.batches.list()] == ["completed"]
    assert files_left("sk-emulator") == []


@pytest.mark.parametrize("settings", [{"validating": 3_600}, {"validating": 3_600, "cancelling": 0.5}])
def test_real_batch_has_a_time_limit(openai_emulator, diagnose, files_left, settings):
    """Then it is cancelled, and its files are deleted once it is over."""
    openai_emulator.change(**settings)
    outcome, text = submit(diagnose, "--submit-seconds", "0.2")
    assert outcome == "failed"
    assert text.endswith("' was still validating after 0.2 seconds; raise --submit-seconds")
    with make_client(openai_emulator, api_key="sk-emulator") as client:
        assert [batch.status for batch in client.batches.list()] == ["cancelled"]
    assert files_left("sk-emulator") == []


def test_real_batch_that_does_not_stop_is_told(openai_emulator, diagnose, monkeypatch):
    """It may write files after the doctor has ended."""
    monkeypatch.setattr("flytekitplugins.openai.doctor.submission.CANCEL_SECONDS", 0.2)
    openai_emulator.change(validating=3_600, cancelling=3_600)
    assert (
        " was cancelled; when it is over, delete its result files at OpenAI"
        in submit(diagnose, "--submit-seconds", "0.2")[1]
    )


def test_real_batch_without_results_is_told(openai_emulator, diagnose, monkeypatch):
    """Its files may come late, but not for ever."""
    monkeypatch.setattr("flytekitplugins.openai.doctor.submission.LATE_FILES_SECONDS", 0.2)
    openai_emulator.change(late_files=3_600)
    outcome, text = submit(diagnose)
    assert (outcome, text.partition("' ")[2]) == ("failed", "is completed, and has no result file")


def test_real_batch_whose_files_stay_is_told(openai_emulator, diagnose):
    """By their ids."""
    openai_emulator.order(CallFault(method="DELETE", status=503, times=None, skip=1))
    outcome, text = submit(diagnose)
    assert (outcome, text.count("is left at OpenAI, delete it there")) == ("failed", 2)


def test_real_batch_waits_for_the_rest_to_be_well(openai_emulator, diagnose):
    """Nothing is paid for before."""
    openai_emulator.advance(7_200)
    assert submit(diagnose) == ("skipped", "not checked, because an earlier check failed")


def test_real_batch_needs_a_key(emulator, diagnose, monkeypatch):
    """As everything else."""
    monkeypatch.delenv("_FSEC_FLYTE_OPENAI_API_KEY")
    skipped = ("skipped", "not checked, because there is no key")
    assert diagnose("--connector", "--submit")[1]["real batch"] == skipped


@pytest.mark.long
def test_interrupt_leaves_nothing_behind(openai_emulator, files_left):
    """Ctrl-C while a real batch runs cancels it, and deletes its file."""
    openai_emulator.change(validating=3_600, cancelling=0.2)
    command = [sys.executable, "-m", "flytekitplugins.openai", "doctor", "--no-connector", "--submit"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 30
            while not any(
                call.path.startswith("/v1/batches/batch_") and call.method == "GET" for call in openai_emulator.calls
            ):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode != 0
    with make_client(openai_emulator, api_key="sk-emulator") as client:
        assert [batch.status for batch in client.batches.list()] == ["cancelled"]
    assert files_left("sk-emulator") == []


# The doctor as a command. In its pauses SIGINT comes within a destructor, whose errors Python drops.
INTERRUPTED_IN_A_DESTRUCTOR = """
import os, signal, sys, time
class Interrupting:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        os.getpid()
time.sleep = lambda seconds: Interrupting() and None
from flytekitplugins.openai.__main__ import main
sys.exit(main(["doctor", "--no-connector", "--submit"]))
"""


@pytest.mark.long
def test_interrupt_that_python_drops_is_not_lost(openai_emulator, files_left):
    """A handler's error is printed and dropped in the middle of a destructor, and the batch would run on."""
    openai_emulator.change(validating=3_600, cancelling=0.2)
    command = [sys.executable, "-c", INTERRUPTED_IN_A_DESTRUCTOR]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert "Exception ignored in: <function Interrupting.__del__" in run.stderr
    with make_client(openai_emulator, api_key="sk-emulator") as client:
        assert [batch.status for batch in client.batches.list()] == ["cancelled"]
    assert files_left("sk-emulator") == []
