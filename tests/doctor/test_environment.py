"""Whether the doctor sees that what is installed does not fit; distributions are as `pip` leaves them."""

import importlib.metadata
import platform
import sys

import pytest

from flytekitplugins.openai.doctor.environment import SERVICE, check_connector_extra, check_versions


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that installs another version of a distribution."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name, version, *lines):
        directory = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        directory.mkdir()
        metadata = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines]
        (directory / "METADATA").write_text("\n".join(metadata) + "\n\n")

    return install


def told(check):
    return check.outcome, check.text


def test_versions_that_fit_are_told():
    """Those that a bug report needs."""
    check = check_versions()
    versions = {name: importlib.metadata.version(name) for name in ("flytekit", "flyteidl", "openai")}
    assert check.outcome == "ok"
    assert all(f"{name} {version}" in check.text for name, version in versions.items())
    assert f"Python {platform.python_version()}" in check.text


@pytest.mark.parametrize(
    ("name", "version", "floor"),
    [("openai", "1.40.0", "1.55.3"), ("flytekit", "1.15.4", "1.16.0"), ("flyteidl", "1.0", "1.16.0")],
)
def test_version_that_is_too_old_is_told(install, name, version, floor):
    """With what to install."""
    install(name, version)
    text = f"{name} {version} is installed, and >={floor} is needed: pip install '{name}>={floor}'"
    assert told(check_versions()) == ("failed", text)


def test_prerelease_fits(install):
    """Somebody tries it on purpose."""
    install("openai", "99.0.0rc1")
    assert check_versions().outcome == "ok"


def test_missing_package_and_other_python_are_told(install):
    """By the metadata of the package as it is installed."""
    install("flytekitplugins-openai", "2.0.0", "Requires-Python: <3", "Requires-Dist: no-such-package>=3")
    python = platform.python_version()
    text = (
        f"Python {python} is running, and <3 is needed: use another image; "
        "no-such-package is not installed: pip install 'no-such-package>=3'"
    )
    assert told(check_versions()) == ("failed", text)


def test_requirements_of_extras_are_not_those_of_the_package(install):
    """Nor are those of another Python."""
    lines = ('Requires-Dist: no-such-a; extra == "tables"', 'Requires-Dist: no-such-b; python_version < "3"')
    install("flytekitplugins-openai", "2.0.0", *lines)
    assert check_versions().outcome == "ok"


def test_connector_extra_is_there():
    """The service is imported for it."""
    assert told(check_connector_extra()) == ("ok", "the connector service can be imported")


def test_missing_part_of_the_connector_extra_is_told(install):
    """By its name."""
    version = importlib.metadata.version("flytekit")
    install("flytekit", version, "Requires-Dist: click", 'Requires-Dist: no-such-grpc<2; extra == "connector"')
    text = (
        "no-such-grpc is not installed: pip install 'no-such-grpc<2'; pip install 'flytekitplugins-openai[connector]'"
    )
    assert told(check_connector_extra()) == ("failed", text)


def test_service_that_cannot_be_imported_is_told(monkeypatch):
    """As with a protobuf that does not fit gRPC's generated code."""
    monkeypatch.setitem(sys.modules, SERVICE, None)
    outcome, text = told(check_connector_extra())
    assert outcome == "failed"
    assert text.startswith("the service cannot be imported (ModuleNotFoundError: import of ")
    assert text.endswith("; pip install 'flytekitplugins-openai[connector]'")
