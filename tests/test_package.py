import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.try_wheel import TRIALS

ROOT = Path(__file__).parent.parent


def run(*command, **arguments):
    return subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True, **arguments).stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The directory that holds the sdist, and the wheel made from it."""
    target = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--no-isolation", "--outdir", str(target), str(ROOT))
    return target


def test_wheel_holds_the_package_and_nothing_else(built):
    """Tests, examples and the shared namespace stay out of site-packages."""
    [wheel] = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"flytekitplugins"}
    assert "flytekitplugins/__init__.py" not in names
    assert "flytekitplugins/openai/py.typed" in names
    assert "flytekitplugins/openai/batch/report/report.html" in names


def test_metadata_is_fit_for_a_package_page(built):
    """The index refuses a page that it cannot render."""
    assert "PASSED" in run("-m", "twine", "check", "--strict", *map(str, built.iterdir()))


@pytest.mark.long
def test_wheel_imports_beside_another_plugin(built, tmp_path):
    """`flytekitplugins` belongs to all of them."""
    [wheel] = built.glob("*.whl")
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(tmp_path), str(wheel))
    other = tmp_path / "flytekitplugins" / "another" / "__init__.py"
    other.parent.mkdir()
    other.write_text("")
    code = "import flytekitplugins.another, flytekitplugins.openai as here; print(here.__file__)"
    printed = run("-c", code, env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path)
    assert printed.strip() == str(tmp_path / "flytekitplugins" / "openai" / "__init__.py")


def test_oldest_end_of_the_matrix_is_what_the_metadata_says():
    """So that every lower bound is tested."""
    asked = [Requirement(line) for line in importlib.metadata.requires("flytekitplugins-openai")]
    floors = {str(need.name): floor for need in asked if "dev" not in str(need.marker) for floor in need.specifier}
    oldest = [Requirement(line) for line in (ROOT / "tests" / "oldest.txt").read_text().splitlines()[1:]]
    assert {need.name for need in oldest} == set(floors)
    assert all(need.specifier.contains(floors[need.name].version) for need in oldest)


def test_wheel_is_tried_with_every_extra():
    """`make build` does so, but for the one of the developers."""
    extras = importlib.metadata.metadata("flytekitplugins-openai").get_all("Provides-Extra")
    assert set(TRIALS) == {"", *extras} - {"dev"}
