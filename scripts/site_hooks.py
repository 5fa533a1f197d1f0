"""Hooks of the documentation site (mkdocs.yml): notebooks become pages, with the outputs that they hold."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_PAGE = r"(?<!\[)`(?:docs/)?(\w+\.md)`(?!\])"
"""A page in code, as `theory.md`, that is no link."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """A page, and its pictures, in the place of every notebook; the notebook itself can be downloaded."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        path = Path(config.docs_dir) / notebook.src_uri
        stem = notebook.src_uri.removesuffix(".ipynb")
        pictures: dict[str, bytes] = {}
        text = page_of(json.loads(path.read_text(encoding="utf-8")), Path(stem).name, pictures)
        files.append(File.generated(config, f"{stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"{Path(stem).parent}/{name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The pages are written as GitHub reads them; the parser of the site is of another opinion on lists.
    Pages that a page names are links."""
    here = Path(page.file.src_uri).parent
    known = {path.name for path in Path(config.docs_dir).glob("*.md")} - {Path(page.file.src_uri).name}

    def linked(match: re.Match[str]) -> str:
        name = match[1]
        return f"[`{name}`]({'../' * len(here.parts)}{name})" if name in known else match[0]

    lines = with_wide_lists(markdown).split("\n")
    return "\n".join(re.sub(_PAGE, linked, line) if line[:4].strip() else line for line in lines)


def with_wide_lists(markdown: str) -> str:
    """Lists after a blank line, and what belongs to an item indented by four: "* text" has two."""
    lines: list[str] = []
    fence, extra = False, 0
    for line in markdown.splitlines():
        item = re.match(r"( *)([*-]|\d+\.) +\S", line)
        before = lines[-1] if lines else ""
        if line.lstrip().startswith("```"):
            fence = not fence
        elif not fence and line.strip():
            indent = len(line) - len(line.lstrip())
            if item and indent == 0:
                if before.strip() and not extra:
                    lines.append("")
                extra = 4 - (len(item[2]) + 1)
            elif indent == 0 and not before.strip():
                extra = 0
            elif indent and extra:
                line = " " * extra + line
        lines.append(line)
    return "\n".join(lines) + "\n"


def page_of(notebook: dict[str, Any], name: str, pictures: dict[str, bytes]) -> str:
    """Markdown of a notebook; its pictures are added to `pictures` by file name."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            parts += _output(output, name, pictures)
    first, _, rest = "\n\n".join(parts).partition("\n")
    return f"{first}\n\nThis page is a notebook: [download it]({name}.ipynb).\n{rest}\n"


def _output(output: dict[str, Any], name: str, pictures: dict[str, bytes]) -> Iterator[str]:
    """One output of a cell: picture, HTML or text."""
    data = output.get("data", {})
    if "image/png" in data:
        file = f"{name}-{len(pictures) + 1}.png"
        pictures[file] = base64.b64decode("".join(data["image/png"]))
        yield f"![output of the cell above]({file})"
    elif "text/html" in data:
        html = "".join(data["text/html"])
        if re.sub(r"<[^>]*>", "", html).strip():  # bars that went away leave nothing
            yield "\n".join(line for line in html.splitlines() if line.strip())
    else:
        text = "".join(output.get("text", data.get("text/plain", "")))
        if text.strip():
            yield f"```text\n{text.rstrip()}\n```"
