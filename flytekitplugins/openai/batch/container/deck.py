"""Shows the report as a Deck: a page beside the step in Flyte's console, and a file in a local run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flytekit
from flytekit import FlyteContextManager, lazy_module, logger
from flytekit.models.task import TaskTemplate

from flytekitplugins.openai._client import platform_url
from flytekitplugins.openai._flyte import is_local_run
from flytekitplugins.openai.batch.container.progress import stderr_console
from flytekitplugins.openai.batch.costs.estimate import estimate_of
from flytekitplugins.openai.batch.records.manifest import Manifest
from flytekitplugins.openai.batch.results.counts import Tally
from flytekitplugins.openai.batch.results.rows import SampleRow

if TYPE_CHECKING:
    from flytekitplugins.openai.batch import report
else:
    # flytekit imports every plugin at its start, and only the last step of a workflow makes a page.
    report = lazy_module("flytekitplugins.openai.batch.report")

__all__ = ["publish_report"]

# Where Flyte looks for a deck, beside a task's outputs.
DECK_FILE_NAME = "deck.html"


def publish_report(
    template: TaskTemplate,
    rounds: Sequence[Sequence[Mapping[str, Any]]],
    tally: Tally,
    *,
    page: Path,
    complaint: str = "",
    rows: Sequence[SampleRow] = (),
    manifests: Sequence[Manifest] = (),
) -> None:
    """Write the report about a step's batches, and show it.

    Results are not lost because of it: whatever goes wrong with the page is only logged.

    Args:
        template: The step's.
        rounds: The batch objects of each round.
        tally: The counts of the requests.
        page: Where it is written on this machine.
        complaint: Why that is not good enough; "" when it is.
        rows: Of a table, the first ones with their answers.
        manifests: What was in the files of each round, if that is known.
    """
    try:
        told = report.Report(
            name=template.custom.get("title") or template.id.name,
            execution=_execution_name(),
            rounds=rounds,
            tally=tally,
            complaint=complaint,
            rows=rows,
            estimates=[estimate_of(manifest) for manifest in manifests],
            link=platform_url,
        )
        page = Path(page)
        page.write_text(report.render(told), encoding="utf-8")
        if is_local_run():
            where = page.absolute().as_uri()
            stderr_console().print(f"{template.id.name}: the report is at {where}", markup=False)
        elif template.metadata.generates_deck:
            _publish(page)
    except Exception as error:  # noqa: BLE001 (see above)
        logger.warning(f"The report could not be written, or not shown in Flyte's console: {error!r}.")


def _publish(page: Path) -> None:
    """Put a page where Flyte looks for the step's deck.

    It is the whole deck, and not put into flytekit's template, which shows nothing without its scripts and loads a font
    from the web.
    """
    file_access = FlyteContextManager.current_context().file_access
    target = f"{flytekit.current_context().output_metadata_prefix.rstrip('/')}/{DECK_FILE_NAME}"
    # The first is S3's name for it, the second GCS's.
    file_access.put_data(str(page), target, ContentType="text/html", content_type="text/html")


def _execution_name() -> str | None:
    """The step's execution as `project/domain/name`; `None` in a local run."""
    execution = None if is_local_run() else flytekit.current_context().execution_id
    return f"{execution.project}/{execution.domain}/{execution.name}" if execution else None
