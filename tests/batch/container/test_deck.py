import logging

import pytest
from flytekit import FlyteContextManager, Secret
from flytekit.core.context_manager import ExecutionState

from flytekitplugins.openai import DownloadJSONFilesTask, OpenAIFileConfig
from flytekitplugins.openai.batch.container.deck import publish_report
from flytekitplugins.openai.batch.results.counts import Tally
from tests.builders import serialize

BATCH = {"id": "batch_1", "status": "completed", "created_at": 1_000, "completed_at": 1_060}
TEMPLATE = serialize(DownloadJSONFilesTask("download", OpenAIFileConfig(Secret(group="team", key="key"))))


class RefusingStore:
    """A blob store of Flyte's that takes nothing."""

    def put_data(self, *_arguments, **_headers):
        raise PermissionError("no")


@pytest.fixture
def publish(tmp_path):
    """A function that publishes a report, and returns where it is."""

    def publish(*batches):
        page = tmp_path / "report.html"
        publish_report(TEMPLATE, [batches], Tally(succeeded=1), page=page)
        return page

    return publish


@pytest.fixture
def cluster():
    """Flyte, with a store that takes nothing."""
    context = FlyteContextManager.current_context()
    parameters = context.user_space_params.new_builder()
    parameters.output_metadata_prefix = "s3://bucket/n0/data/0"
    state = context.new_execution_state().with_params(
        mode=ExecutionState.Mode.TASK_EXECUTION, user_space_params=parameters.build()
    )
    there = context.with_file_access(RefusingStore()).with_execution_state(state)
    with FlyteContextManager.with_context(there):
        yield


def test_batches_of_openais_are_linked_to_its_platform(publish):
    """As the task's own links."""
    assert 'href="https://platform.openai.com/batches/batch_1"' in publish(BATCH).read_text()


def test_batches_of_another_server_are_not(publish, emulator):
    """There is no page about them."""
    assert "href" not in publish(BATCH).read_text()


def test_store_that_refuses_does_not_cost_the_results(publish, cluster, caplog):
    """The page is still in the result."""
    with caplog.at_level(logging.WARNING, logger="flytekit"):
        assert publish(BATCH).exists()
    assert "The report could not be written, or not shown in Flyte's console: PermissionError('no')." in caplog.text


def test_page_that_cannot_be_made_does_not_cost_the_results(caplog, tmp_path):
    """Whatever is wrong with what it is made of."""
    page = tmp_path / "report.html"
    with caplog.at_level(logging.WARNING, logger="flytekit"):
        publish_report(TEMPLATE, [[BATCH]], None, page=page)
    assert not page.exists()
    assert "The report could not be written" in caplog.text
