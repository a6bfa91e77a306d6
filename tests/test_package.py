import importlib.metadata
import re
import runpy
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from readme_renderer.markdown import render

from tests.try_wheel import TRIALS

ROOT = Path(__file__).parent.parent
with_absolute_links = runpy.run_path(str(ROOT / "hatch_build.py"))["with_absolute_links"]


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


def test_readme_of_the_package_page_leads_to_files_of_the_project(built):
    """Its links and its picture work away from the repository, whose place is said once."""
    [wheel] = built.glob("*.whl")
    [name] = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/METADATA")]
    metadata = message_from_bytes(zipfile.ZipFile(wheel).read(name))
    [source] = [url.split(", ")[1] for url in metadata.get_all("Project-URL") if url.startswith("Source, ")]
    page = render(metadata.get_payload(decode=True).decode())
    targets = set(re.findall(r'(?:href|src)="([^"]*)"', page))
    anchors = {f"#{anchor}" for anchor in re.findall(r'id="([^"]*)"', page)}
    blob, raw = (
        with_absolute_links(f"{link}(|)", source).partition("(")[2].partition("|")[0] for link in ("[]", "![]")
    )
    files = {target.removeprefix(blob) for target in targets if target.startswith(blob)}
    assert [target for target in targets - anchors if not target.startswith("https://")] == []
    assert [file for file in files if not (ROOT / file.partition("#")[0]).exists()] == []
    assert {"docs/tables.md", "examples", "LICENSE"} <= files
    assert {target.removeprefix(raw) for target in targets if target.startswith(raw)} == {"docs/report.png"}


@pytest.mark.parametrize(
    ("source", "home"),
    [
        ("https://github.com/team/project", "https://github.com/team/project/blob/HEAD"),
        ("https://github.com/team/project/", "https://github.com/team/project/blob/HEAD"),
        ("https://github.com/team/project/tree/main", "https://github.com/team/project/blob/main"),
        ("https://github.com/team/many/tree/main/a/project/", "https://github.com/team/many/blob/main/a/project"),
    ],
)
def test_links_follow_the_project(source, home):
    """To a repository of its own, or to a folder of another."""
    assert with_absolute_links("[a](docs/a.md#b)", source) == f"[a]({home}/docs/a.md#b)"


@pytest.mark.parametrize("text", ["[a](#b)", "[a](https://flyte.org)", "[a](mailto:a@b.c)", "```python\na[b](c)\n```"])
def test_what_is_no_link_to_a_file_stays(text):
    """Headings of the page, addresses, and code."""
    assert with_absolute_links(text, "https://github.com/team/project") == text


def test_project_that_lives_elsewhere_is_refused():
    """The forms of other hosts' addresses are not known here."""
    message = (
        "The project's URL `Source` must be a repository or a folder at GitHub, not 'https://example.com/project'."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        with_absolute_links("", "https://example.com/project")


def test_image_is_built_from_what_the_packaging_reads():
    """The image's context holds nothing else, and a build without one of these files fails."""
    context = (ROOT / ".dockerignore").read_text().splitlines()
    assert {"!flytekitplugins", "!pyproject.toml", "!hatch_build.py", "!README.md", "!LICENSE"} <= set(context)


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
