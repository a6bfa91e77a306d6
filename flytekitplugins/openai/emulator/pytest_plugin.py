"""The emulator as a pytest fixture.

Ask for it in a `conftest.py`: `pytest_plugins = ["flytekitplugins.openai.emulator.pytest_plugin"]`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flytekitplugins.openai import _observed_rows

from .server import Emulator

__all__ = ["openai_emulator"]


@pytest.fixture
def openai_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator for this test; every OpenAI client created during the test connects to it.

    One that is older, such as the one that the module `openai` keeps for `openai.batches.list()`, goes where it did.
    """
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    with Emulator() as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        _observed_rows.observers.append(emulator.add_row)
        try:
            yield emulator
        finally:
            _observed_rows.observers.remove(emulator.add_row)
