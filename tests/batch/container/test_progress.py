"""How far a file step is."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from flytekitplugins.openai.batch.container import progress
from flytekitplugins.openai.batch.container.progress import StepProgress


@pytest.fixture
def screen(monkeypatch):
    """A function that sets what people watch: a terminal, or a log."""

    def screen(*, is_terminal):
        console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100, soft_wrap=True)
        monkeypatch.setattr(progress, "stderr_console", lambda: console)
        return console.file

    return screen


def test_log_has_a_line_now_and_then_and_one_at_the_end(screen, monkeypatch):
    """Not one for each request."""
    log, clock = screen(is_terminal=False), iter([0, 10, 29, 31, 31, 40, 40])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with StepProgress("upload", total=100) as step:
        for done in (10, 29, 31, 40):
            step.show(f"{done} requests checked", done=done)
    assert log.getvalue() == "upload: 31 requests checked (31%)\nupload: 40 requests checked\n"


def test_terminal_has_a_bar(screen):
    """And the last word stays when the bar is gone."""
    terminal = screen(is_terminal=True)
    with StepProgress("upload", total=100) as step:
        step.show("50 [requests] checked", done=50)
    assert "━" in terminal.getvalue()
    assert "upload: 50 [requests] checked" in terminal.getvalue()


def test_step_that_fails_does_not_tell_how_far_it_came_at_the_end(screen):
    """The error is the last word."""
    log = screen(is_terminal=False)
    with pytest.raises(ZeroDivisionError), StepProgress("upload", total=None) as step:
        step.show("1 request checked", done=1 / 0)
    assert not log.getvalue()
