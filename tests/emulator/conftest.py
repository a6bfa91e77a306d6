import openai
import pytest

from flytekitplugins.openai.emulator import Emulator


@pytest.fixture
def emulator():
    """An emulator whose time stands still until a test moves it, and whose batches take none."""
    with Emulator() as emulator:
        emulator.freeze()
        yield emulator


@pytest.fixture(scope="session")
def sdk():
    """One client for all tests, because each costs 20 ms; `client` points it at the test's own emulator."""
    with openai.OpenAI(api_key="sk-test", base_url="http://127.0.0.1:9/v1", max_retries=0, timeout=20) as sdk:
        yield sdk


@pytest.fixture
def client(sdk, emulator):
    return sdk.with_options(base_url=emulator.base_url)
