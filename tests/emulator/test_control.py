import time

import pytest

from flytekitplugins.openai.emulator import BatchFault, CallFault, Emulator, EmulatorControl, RequestFault

from .builders import call, counts, make_lines, run, submit


@pytest.fixture
def emulator():
    """An emulator that other processes may control."""
    with Emulator(control=True) as emulator:
        emulator.freeze()
        yield emulator


@pytest.fixture
def control(emulator):
    return EmulatorControl(emulator.base_url)


def test_control_changes_settings(emulator, control):
    """Settings change over the wire, infinite ones too."""
    control.change(validating=10, requests_per_second=float("inf"), keys={"sk-a": "proj_a"})
    assert (emulator.settings.validating, emulator.settings.keys) == (10, {"sk-a": "proj_a"})


def test_control_orders_call_faults(emulator, control):
    """A call fault arrives with every field."""
    control.order(CallFault(path="/v1/batches", status=503, headers={"Retry-After": "7"}))
    reply = call(emulator, "GET", "/v1/batches")
    assert (reply.status, reply.headers["retry-after"]) == (503, "7")


def test_control_orders_batch_faults(control, client):
    """A batch fault arrives."""
    control.order(BatchFault(code="token_limit_exceeded"))
    assert run(client).errors.data[0].code == "token_limit_exceeded"


def test_control_orders_request_faults(control, client):
    """A request fault arrives."""
    control.order(RequestFault(custom_id="r-1", status=500))
    assert counts(run(client, make_lines(2))) == (2, 1, 1)


def test_control_orders_several_faults(emulator, control):
    """Faults ordered together strike one after the other."""
    control.order(CallFault(status=500), CallFault(status=503))
    assert [call(emulator, "GET", "/v1/batches").status for _ in range(3)] == [500, 503, 200]


def test_control_clears_faults(emulator, control):
    """After `clear_faults` everything goes right again."""
    control.order(CallFault(status=500, times=None))
    control.clear_faults()
    assert call(emulator, "GET", "/v1/batches").status == 200


def test_control_advances_the_clock(emulator, control, client):
    """Time passes at once when another process says so."""
    emulator.change(validating=3_600)
    batch = submit(client)
    control.advance(3_600)
    assert client.batches.retrieve(batch.id).status == "completed"


def test_control_freezes_and_thaws(emulator, control):
    """The clock runs and stops as another process says."""
    control.thaw()
    running = emulator.now()
    time.sleep(0.001)
    assert emulator.now() > running
    control.freeze()
    stopped = emulator.now()
    time.sleep(0.001)
    assert emulator.now() == stopped


def test_control_tells_calls(control, client):
    """Recorded calls arrive, without their keys and without the control's own."""
    client.batches.list()
    (seen,) = control.calls()
    assert (seen["method"], seen["path"], seen["status"]) == ("GET", "/v1/batches", 200)
    assert "key" not in seen


def test_control_is_not_struck_by_faults(emulator, control):
    """Orders get through while every call of the API fails."""
    control.order(CallFault(drop=True, times=None))
    control.clear_faults()
    assert call(emulator, "GET", "/v1/batches").status == 200


def test_unknown_setting_is_refused(emulator, control):
    """An order that makes no sense is refused with the reason."""
    message = f"^the emulator at {emulator.base_url[:-3]}/control refused 'settings': .*TypeError: .*'speed'"
    with pytest.raises(ValueError, match=message):
        control.change(speed=3)


def test_clock_cannot_be_turned_back(control):
    """Time goes forward over the wire as well."""
    with pytest.raises(ValueError, match="ValueError: a clock can only be advanced; got -1 seconds"):
        control.advance(-1)


@pytest.mark.parametrize("body", [b"no JSON", [1], {"kind": "Nonsense"}, {"kind": "CallFault", "colour": "red"}])
def test_nonsense_is_refused(emulator, body):
    """Whatever is sent to a control route, the answer is a 400 at worst."""
    assert call(emulator, "POST", "/control/faults", body=body).status == 400


def test_control_is_off_unless_asked_for(sdk):
    """An emulator accepts no orders from other processes by default."""
    with Emulator(strict=False) as emulator, pytest.raises(ValueError, match=r"refused 'clock': .*unknown_url"):
        EmulatorControl(emulator.base_url).advance(1)
