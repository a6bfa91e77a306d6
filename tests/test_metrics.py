"""How metrics are made, outside of the service; what they say is in `service/test_metrics.py`."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flytekitplugins.openai import _metrics


@pytest.fixture
def not_made(monkeypatch):
    """A process to which Flyte has not called yet."""
    monkeypatch.setattr(_metrics, "_made", [])


def test_metrics_whose_names_are_taken_cost_no_call(monkeypatch, caplog):
    """Another library of the service, or a second copy of this one, may have them; it is told once."""
    _metrics.count_from_zero()
    monkeypatch.setattr(_metrics, "_made", [])
    caplog.clear()
    for _ in range(2):
        _metrics.count_failure("poll_failures", reason="429")
        with _metrics.call_to_openai("batches.retrieve"):
            pass
    assert [record.message for record in caplog.records] == ["the connector has no metrics"]


def test_metrics_that_are_not_all_made_are_none(tmp_path):
    """A counter that never grows would say that nothing failed."""
    code = """
import prometheus_client
prometheus_client.Gauge("flyte_connector_openai_calls_under_way", "another's")
from flytekitplugins.openai import _metrics
_metrics.count_failure("poll_failures", reason="429")
print(prometheus_client.generate_latest().decode())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    ours = {line.split()[0] for line in said.splitlines() if line.startswith("flyte_connector_openai")}
    assert ours == {"flyte_connector_openai_calls_under_way"}


def test_metrics_are_made_once(not_made, monkeypatch):
    """Though two verbs begin in two threads at the same time."""
    made = []

    def make_slowly():
        time.sleep(0.05)
        made.append(threading.get_ident())

    monkeypatch.setattr(_metrics, "_make", make_slowly)
    with ThreadPoolExecutor(2) as threads:
        for _ in range(2):
            threads.submit(_metrics.count_from_zero)
    assert len(made) == 1
