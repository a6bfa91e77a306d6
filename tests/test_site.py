import importlib
import inspect
import re
import subprocess
import sys
import tarfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from readme_renderer.markdown import render

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent
PAGES = [path.relative_to(ROOT) for pattern in ("*.md", "docs/*.md", "[!.]*/README.md") for path in ROOT.glob(pattern)]
PUBLIC = ("", ".emulator", ".emulator.pytest_plugin", ".exceptions")
MKDOCS = """
import socket

from mkdocs.__main__ import cli


def refuse(*_):
    raise OSError("the site is built without a network")


socket.socket.connect = socket.getaddrinfo = refuse
cli()
"""
TEXTS = ("h1", "h2", "h3", "li", "th", "td", "p", "pre", "em", "strong")
WITHOUT_AN_END = ("br", "hr", "img", "input", "link", "meta")


class Page(HTMLParser):
    """What a page holds: its elements with their attributes, and the texts of those that readers see."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self._open = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in WITHOUT_AN_END:
            self._open.append((tag, []))

    def handle_data(self, data):
        for _, text in self._open:
            text.append(data)

    def handle_endtag(self, tag):
        while self._open:
            name, text = self._open.pop()
            if name in TEXTS:
                self.texts.append((name, " ".join("".join(text).replace("¶", "").split())))
            if name == tag:
                break

    def all(self, attribute):
        return [values[attribute] for _, values in self.elements if values.get(attribute)]


def build_site(folder):
    """Build the site of a checkout, as `make docs` does; no call may leave this machine."""
    command = [sys.executable, "-c", MKDOCS, "build", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def unpack(tmp_path_factory):
    """A function that unpacks the sdist into a new folder."""
    target = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", str(target), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    [archive] = target.iterdir()

    def unpack():
        folder = tmp_path_factory.mktemp("checkout")
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
        [checkout] = folder.iterdir()
        return checkout

    return unpack


@pytest.fixture(scope="module")
def site(unpack):
    """The site's folder, built from the sdist alone."""
    checkout = unpack()
    run = build_site(checkout)
    assert run.returncode == 0, run.stderr
    return checkout / "site"


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): Page(path.read_text()) for path in site.rglob("*.html")}


def test_links_of_the_site_lead_somewhere(pages, site):
    """Those of the menus and of the code, too: to a file of the site, and to an anchor on it."""
    broken = []
    for name, page in pages.items():
        # The page for an address that does not exist cannot know where it is.
        for link in page.all("href") + page.all("src") if name != "404.html" else []:
            parts = urlsplit(link)
            path = (site / name).parent / unquote(parts.path) if parts.path else site / name
            path = path / "index.html" if path.is_dir() else path
            if parts.scheme or (path.is_file() and not parts.fragment):
                continue
            target = pages.get(path.resolve().relative_to(site.resolve()).as_posix())
            if target is None or unquote(parts.fragment) not in [*target.all("id"), "__comments"]:
                broken.append((name, link))
    assert broken == []


def test_every_page_is_in_the_menu(pages):
    """The changelog and the page for contributors are among them."""
    links = [
        values.get("href") for _, values in pages["index.html"].elements if "md-nav__link" in values.get("class", "")
    ]
    expected = {page.with_suffix(".html").as_posix().replace("README", "index") for page in PAGES}
    assert {"CHANGELOG.html", "CONTRIBUTING.html", "docs/tables.html"} <= expected
    assert expected | {"examples.html"} <= {*links, "index.html"}


def test_site_loads_nothing_from_other_hosts(pages, site):
    """No script, style, font or picture, so that it is read in a closed network, and nobody is told of its readers."""
    links = [values.get("href") for page in pages.values() for tag, values in page.elements if tag == "link"]
    loaded = links + [source for page in pages.values() for source in page.all("src")]
    styles = [path.read_text() for path in site.rglob("*.css")]
    named = [re.findall(r"(?:@import|url\()\s*[\"']?((?:https?:)?//[^\"')]+)", style) for style in styles]
    assert [link for link in loaded if urlsplit(link).netloc] == []
    assert [link for links in named for link in links] == []
    assert len(loaded) > 100
    assert styles


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_page_says_on_the_site_what_it_says_in_the_repository(pages, path):
    """Two readers of Markdown must agree where a list, a table or a cell begins and ends."""
    there = pages[path.with_suffix(".html").as_posix().replace("README", "index")]
    here = Page(render((ROOT / path).read_text()))
    [start] = [number for number, (tag, _) in enumerate(there.texts) if tag == "h1"]
    shown = there.texts[start : start + len(here.texts)]
    assert shown == here.texts


@pytest.mark.parametrize("module", PUBLIC)
def test_public_name_is_in_the_reference_with_its_docstring(pages, module):
    """A name that no page explains is one that nobody finds."""
    home = f"flytekitplugins.openai{module}"
    reference = [page for name, page in pages.items() if name.startswith("reference/")]
    ids = {anchor for page in reference for anchor in page.all("id")}
    texts = {text for page in reference for _, text in page.texts}
    names = importlib.import_module(home).__all__
    docstrings = {name: inspect.getdoc(getattr(importlib.import_module(home), name)) or "" for name in names}
    sentences = {name: text.split("\n\n")[0].replace("`", "") for name, text in docstrings.items()}
    assert [name for name in names if f"{home}.{name}" not in ids] == []
    assert [name for name in names if " ".join(sentences[name].split()) not in texts] == []


def test_reference_shows_sections_as_such(pages):
    """Arguments, attributes and errors are lists, and an example is code."""
    texts = [text for name, page in pages.items() if name.startswith("reference/") for text in page.texts]
    headings = {text for tag, text in texts if tag == "p"}
    assert {"Parameters:", "Attributes:", "Raises:", "Examples:"} <= headings
    assert [text for _, text in texts if re.match(r"(Args|Attributes|Raises|Returns|Yields|Example): \S", text)] == []
    # What a box would hold is a section that the reader of docstrings does not know.
    tags = {tag for name, page in pages.items() if name.startswith("reference/") for tag, _ in page.elements}
    assert not tags & {"details", "blockquote"}


def test_build_fails_for_what_a_reader_would_miss(unpack):
    """A broken link, a heading that is gone, a page outside the menu, and names without a place or a docstring."""
    checkout = unpack()
    package = checkout / "flytekitplugins" / "openai"
    for path, old, new in [
        (checkout / "README.md", "(docs/tables.md#test-it)", "(docs/tables.md#try-it)"),
        (checkout / "docs" / "tables.md", "(operating-the-connector.md)", "(operating.md)"),
        (checkout / "docs" / "writing-a-workflow.md", "(../examples/many_inputs.py)", "(../examples/few_inputs.py)"),
        (checkout / "docs" / "site" / "reference" / "requests.md", "::: flytekitplugins.openai.embedding_request", ""),
        (
            package / "batch" / "results" / "rows.py",
            '"""The vector, of a request that embeds one text; `None` where there is none."""',
            "",
        ),
        (package / "exceptions.py", '"""A temporary failure, worth a retry."""', ""),
        (package / "batch" / "workflow.py", "        min_success_ratio: The part", "        success_ratio: The part"),
    ]:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
    (checkout / "docs" / "new.md").write_text("# New\n")
    run = build_site(checkout)
    assert run.returncode == 1
    warnings = " ".join(run.stderr.split())
    for words in [
        "contains a link 'docs/tables.md#try-it', but the doc 'docs/tables.md' does not contain an anchor '#try-it'",
        "'docs/tables.md' contains a link 'operating.md', but the target 'docs/operating.md' is not found",
        "contains a link '../examples/few_inputs.py', but the target 'examples/few_inputs.py' is not found",
        'exist in the docs directory, but are not included in the "nav" configuration: - docs/new.md',
        "flytekitplugins.openai.embedding_request is on no page of the reference",
        "flytekitplugins.openai.ResultRow.embedding has no docstring",
        "flytekitplugins.openai.exceptions.PassingError has no docstring",
        "Parameter 'success_ratio' does not appear in the function signature",
    ]:
        assert words in warnings
