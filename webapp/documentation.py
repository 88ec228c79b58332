"""The project's documentation, served by the site itself: docs/*.md as pages, for everybody."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from markdown_it import MarkdownIt
from mdit_py_plugins.anchors import anchors_plugin

FOLDER = Path(settings.BASE_DIR) / "docs"
# In the order of a table of contents; what is not named here stands below 'Decisions'.
CONTENTS = (
    ("Guides", ("annotators", "admins", "researchers", "operations")),
    ("Reference", ("api", "reference/options", "reference/errors", "reference/data_model", "glossary")),
    ("Methods", ("methods/crowd", "methods/lifter", "methods/multiview", "methods/video")),
    ("For developers", ("architecture", "contributing", "how_to_add")),
)


@lru_cache(maxsize=64)
def _rendered(name: str) -> tuple[str, str]:
    """Title and HTML of one document. Raw HTML in it is shown, not obeyed; links to other documents lead to their pages."""
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    reader = MarkdownIt("commonmark", {"html": False}).enable("table").use(anchors_plugin, max_level=4)
    html = reader.render(text)
    html = re.sub(r'href="((?:\.\./)*(?:[\w-]+/)*[\w-]+)\.md(#[^"]*)?"', r'href="\1\2"', html)
    html = html.replace('href="openapi.yaml"', 'href="/api/v1/schema/"')
    html = html.replace("<table>", '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>')
    html = html.replace("</table>", "</table></div>")
    html = html.replace("<pre>", '<pre tabindex="0">')
    heading = re.search(r"^#\s+(.+)$", text, flags=re.M)
    return heading[1].strip() if heading else name, html


def contents(request: HttpRequest) -> HttpResponse:
    """The table of contents."""
    groups = [(title, [(name, _rendered(name)[0]) for name in names]) for title, names in CONTENTS]
    decisions = sorted(f"decisions/{p.stem}" for p in (FOLDER / "decisions").glob("*.md"))
    groups.append(("Decisions", [(name, _rendered(name)[0]) for name in decisions]))
    return render(request, "documentation/contents.html", {"groups": groups})


def page(request: HttpRequest, name: str) -> HttpResponse:
    """One document."""
    if not re.fullmatch(r"(?:[a-z_0-9-]+/)?[a-z_0-9-]+", name) or not (FOLDER / f"{name}.md").is_file():
        raise Http404
    title, html = _rendered(name)
    return render(request, "documentation/page.html", {"title": title, "html": html})


urls = [
    path("docs/", contents, name="documentation"),
    path("docs/<path:name>", page, name="document"),
]
