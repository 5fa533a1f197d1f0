"""The documentation site: it builds without a warning, and says what the pages say on GitHub."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parent.parent
COUNTED = ("h1", "h2", "h3", "li", "pre", "table", "tr", "td", "img", "em", "strong")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`make docs`, elsewhere."""
    target = tmp_path_factory.mktemp("site")
    words = ["-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(target)]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return target


class Elements(HTMLParser):
    """How many elements of a kind, and every target; on the site inside of the article."""

    def __init__(self, text: str, inside: str | None = None) -> None:
        super().__init__()
        self.inside, self.on = inside, inside is None
        self.number: Counter[str] = Counter()
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.on = self.on or tag == self.inside
        if self.on and tag in COUNTED:
            self.number[tag] += 1
        if tag in ("script", "link", "img", "iframe"):
            self.sources += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if tag == self.inside:
            self.on = False


def test_every_page_is_read_as_on_github(site: Path) -> None:
    """Lists, tables, code and emphasis are as many as CommonMark sees."""
    github = MarkdownIt("commonmark").enable("table")
    pages = sorted((ROOT / "docs").glob("*.md"))
    assert len(pages) > 15
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if text.startswith("--8<--"):
            text = (ROOT / text.split('"')[1]).read_text(encoding="utf-8")
        built = (site / f"{page.stem}.html").read_text(encoding="utf-8")
        assert Elements(built, "article").number == Elements(github.render(text)).number, page.name


def test_the_site_needs_no_network(site: Path) -> None:
    """Scripts, styles, fonts and pictures are there; nothing is fetched from elsewhere."""
    pages = list(site.rglob("*.html"))
    assert {"index.html", "theory.html", "cli.html"} <= {page.name for page in pages}
    for page in pages:
        for source in Elements(page.read_text(encoding="utf-8")).sources:
            if not source.startswith("data:") and page.name != "404.html":
                assert "://" not in source, f"{page.name}: {source}"
                assert (page.parent / source.split("#")[0].split("?")[0]).exists(), f"{page.name}: {source}"


def test_the_reference_has_every_public_name(site: Path) -> None:
    """What `mlh.__all__` has is on a page, by its docstring or in the table of names."""
    import mlh

    text = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    assert [name for name in mlh.__all__ if name not in text] == ["__version__"]
    assert 'id="mlh.Theory"' in text and "What a Kohn-Sham calculation is" in text
