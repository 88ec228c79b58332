"""Components of pages: `{% card %}`, `{% table %}`, `{% nothing %}`; plots, fields and the pager are templates in `ui/` to include.

Known to every template (settings: builtins).
"""

from __future__ import annotations

from collections.abc import Iterable

from django import template
from django.template.loader import render_to_string
from django.utils.html import format_html

register = template.Library()


@register.simple_block_tag
def card(content: str, title: str = "", kind: str = "") -> str:
    """A section of a page, with its heading: `{% card "Files" %}...{% endcard %}`."""
    heading = format_html("<h2>{}</h2>", title) if title else ""
    return format_html('<section class="card{}">{}{}</section>', f" {kind}" if kind else "", heading, content)


@register.simple_block_tag
def table(content: str, label: str, *columns: str | Iterable[str], id: str = "") -> str:
    """A table that scrolls within its own width; an argument may be several columns.

    `{% table "Files" "File" "Size" %}` rows `{% endtable %}`.
    """
    names = [name for column in columns for name in ([column] if isinstance(column, str) else column)]
    return render_to_string("ui/table.html", {"label": label, "columns": names, "rows": content, "identity": id})


@register.simple_tag
def nothing(text: str) -> str:
    """What stands where a list has nothing yet: says what to do."""
    return format_html('<p class="empty">{}</p>', text)


@register.simple_tag
def nothing_row(text: str) -> str:
    """The same in a table."""
    return format_html('<tr><td class="empty" colspan="99">{}</td></tr>', text)
