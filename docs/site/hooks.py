"""Makes a site of the repository as it stands, for MkDocs; mkdocs.yml says in which order.

Every file keeps its path, so that a link between two pages works in both places. A file or folder that a page links to
and that is not written in Markdown becomes a page, too: the text of the file, or a list of what is in the folder. Only
the pages of `reference/` are the site's own.
"""

from __future__ import annotations

import ast
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
HERE = PurePosixPath("docs/site")
PAGES = ("*.md", "docs/*.md", "[!.]*/README.md")
ASSETS = ("docs/*.png", "docs/*.svg", f"{HERE}/*.css")
# Each has an `__all__`, all of which the reference must show.
PUBLIC_MODULES = (
    "flytekitplugins.openai",
    "flytekitplugins.openai.emulator",
    "flytekitplugins.openai.emulator.pytest_plugin",
    "flytekitplugins.openai.exceptions",
)
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")
DIRECTIVE = re.compile(r"^::: (\S+)$", re.MULTILINE)

log = get_plugin_logger("site")


class SourcePage(File):
    """A page that shows a file or folder which is not written in Markdown."""

    def is_documentation_page(self) -> bool:
        """MkDocs goes by the ending of its name."""
        return True


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Take from pyproject.toml what it says already."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    config.site_description = project["description"]
    # Not as `repo_url`, for which the theme asks GitHub how many stars there are whenever a page is read.
    config.extra["social"] = [
        {"icon": "fontawesome/brands/github", "link": project["urls"]["Source"], "name": "Where the project lives"}
    ]
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Replace the files of `docs/` by those of the repository, under their paths in it."""
    found = Files([file for file in files if file.src_dir != config.docs_dir])
    for pattern in (*PAGES, *ASSETS):
        for path in sorted(ROOT.glob(pattern)):
            found.append(_file(path.relative_to(ROOT).as_posix(), ROOT, config))
    for path in sorted((ROOT / HERE / "reference").glob("*.md")):
        found.append(_file(f"reference/{path.name}", ROOT / HERE, config))
    for page in list(found.documentation_pages()):
        for target in LINK.findall(page.content_string):
            _add_source(posixpath.normpath(posixpath.join(posixpath.dirname(page.src_uri), target)), found, config)
    _check_reference(found)
    return found


def on_page_markdown(_markdown: str, *, page: Page, **_: Any) -> None:
    """Give the front page the room of a menu that would name only itself, and code that of both menus."""
    if page.parent is None:
        page.meta["hide"] = ["navigation"] if page.is_homepage else ["navigation", "toc"]


def _file(uri: str, folder: Path, config: MkDocsConfig) -> File:
    return File(uri, str(folder), config.site_dir, config.use_directory_urls)


def _add_source(uri: str, files: Files, config: MkDocsConfig) -> None:
    """A page for what is at this path of the repository, unless there is one already, or nothing."""
    path = ROOT / uri
    if uri.startswith("..") or not path.exists() or files.get_file_from_path(uri):
        return
    inside = sorted(_files_in(path)) if path.is_dir() else []
    text = _listing(path, inside) if path.is_dir() else _code(path)
    files.append(SourcePage.generated(config, uri, content=text, inclusion=InclusionLevel.NOT_IN_NAV))
    for file in inside:
        _add_source(file.relative_to(ROOT).as_posix(), files, config)


def _files_in(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _listing(folder: Path, files: list[Path]) -> str:
    rows = [f"| [{path.name}]({path.relative_to(folder.parent).as_posix()}) | {_purpose(path)} |" for path in files]
    return "\n".join([f"# {folder.name.capitalize()}", "", "| file | is |", "|---|---|", *rows, ""])


def _purpose(path: Path) -> str:
    """The first sentence of a module."""
    if path.suffix != ".py":
        return ""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def _code(path: Path) -> str:
    try:
        language = get_lexer_for_filename(path.name).aliases[0]
    except ClassNotFound:
        language = "text"
    return (
        f"# {path.relative_to(ROOT).as_posix()}\n\n````{language}\n{path.read_text(encoding='utf-8').rstrip()}\n````\n"
    )


def _check_reference(files: Files) -> None:
    """Warn of public names without a docstring or without a place in the reference; `--strict` makes errors of that."""
    pages = [file.content_string for file in files.documentation_pages() if file.src_uri.startswith("reference/")]
    shown = {name for page in pages for name in DIRECTIVE.findall(page)}
    for name in PUBLIC_MODULES:
        module = griffe.load(name, search_paths=[str(ROOT)])
        if module.exports is None:
            raise PluginError(f"{name} has no __all__.")
        for public in map(str, module.exports):
            if not shown & {name, f"{name}.{public}"}:
                log.warning("%s.%s is on no page of the reference.", name, public)
            for path in _undocumented(module[public]):
                log.warning("%s has no docstring.", path)


def _undocumented(thing: griffe.Object | griffe.Alias) -> Iterator[str]:
    """The paths of what is public here and has no docstring; what a class inherits is its base's matter."""
    if not thing.has_docstring:
        yield thing.path
    if thing.is_class:
        for member in thing.members.values():
            if member.is_public and not member.is_special and (member.is_function or "property" in member.labels):
                yield from _undocumented(member)
