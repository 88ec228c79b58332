"""Ways to page through lists: any list of the API, and very long ones by their index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from rest_framework.pagination import PageNumberPagination


class Pages(PageNumberPagination):
    page_size_query_param = "page_size"
    max_page_size = 500


class Ranked(Paginator):
    """Pages of a list that may have millions of rows, first and last alike.

    `keys`: a values list of keys in an order that an index has, so that skipped rows are passed in the index alone, from the
    nearer end; `fetch` makes the rows of some keys; `count` is known.
    """

    def __init__(
        self, keys: QuerySet[Any, Any], fetch: Callable[[list[Any]], list[Any]], count: int, per_page: int
    ) -> None:
        super().__init__(keys, per_page)
        self.fetch, self._count = fetch, count

    @property
    def count(self) -> int:  # type: ignore[override]
        return self._count

    def page(self, number: Any) -> Page:
        number = self.validate_number(number)
        bottom = (number - 1) * self.per_page
        top = min(bottom + self.per_page, self._count)
        keys: Any = self.object_list
        if bottom > self._count // 2:
            some = list(keys.reverse()[self._count - top : self._count - bottom])[::-1]
        else:
            some = list(keys[bottom:top])
        return Page(self.fetch(some), number, self)
