"""Makes the README of the package index: the repository's, with links and pictures that work from anywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
# A link or a picture whose target is a file of the repository: neither an address nor a heading of the page.
RELATIVE = re.compile(r"(!?)(\[[^\]]*\])\((?![a-z]+:|#)([^)\s]+)\)")
# https://docs.github.com/en/repositories/working-with-files/using-files/getting-permanent-links-to-files
SOURCE = re.compile(r"(?P<repository>https://github\.com/[^/]+/[^/]+)(/tree/(?P<branch>[^/]+)(?P<folder>/.+)?)?/?")


class IndexReadme(MetadataHookInterface):
    """Sets the project's `readme`, which hatchling would otherwise take as it is."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add it to the fields of pyproject.toml."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        text = with_absolute_links(text, metadata["urls"]["Source"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def with_absolute_links(page: str, source: str) -> str:
    """A page at the root of the repository, for readers who are elsewhere. Links to its own headings stay.

    Args:
        page: In Markdown.
        source: Where the project lives at GitHub: a repository, or a folder of a branch as `.../tree/BRANCH/FOLDER`.

    Raises:
        ValueError: The source is neither.
    """
    found = SOURCE.fullmatch(source)
    if found is None:
        raise ValueError(f"The project's URL `Source` must be a repository or a folder at GitHub, not {source!r}.")
    inside = f"{found['branch'] or 'HEAD'}{(found['folder'] or '').rstrip('/')}"

    def absolute(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        # GitHub sends `blob` of a folder on to its page.
        return f"{picture}{text}({found['repository']}/{'raw' if picture else 'blob'}/{inside}/{target})"

    parts = FENCED.split(page)
    # Every second part is a block of code.
    parts[::2] = [RELATIVE.sub(absolute, part) for part in parts[::2]]
    return "".join(parts)
