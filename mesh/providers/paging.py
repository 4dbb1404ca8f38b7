"""Lists in pages. A token carries the key of the last row of its page, never a number of rows.

So rows that come or go between two pages shift nothing. A list is ordered by something that never changes in a row, so a row
that is there all the time is in exactly one page.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.subscriptions.tokens import Tokens

R = TypeVar("R")
Key = tuple[int | str, ...]
_TOKEN, _SIZE = "page_token", "page_size"
_NOT_ASKED = {_TOKEN, _SIZE}


class Scanned(Protocol[R]):
    """A read model, which is read in the order of its keys."""

    def scan(self, after: str = "", limit: int = -1) -> list[tuple[str, R]]:
        """Rows after a key."""
        ...


def one_page(
    tokens: Tokens, request: Any, rows: Iterable[R], key: Callable[[R], Key], *, newest_first: bool, default: int
) -> tuple[list[R], str]:
    """One page of rows in the order of `key`, and the token of the next page (empty: this is the last).

    `default`: rows in a page, if the request gives no `page_size`.
    """
    last = page_begin(tokens, request)
    if last is not None:
        rows = [row for row in rows if (key(row) < last if newest_first else key(row) > last)]
    ordered = sorted(rows, key=key, reverse=newest_first)
    size = request.page_size or default
    page = ordered[:size]
    return page, page_token(tokens, request, key(page[-1])) if len(ordered) > size else ""


def ordered_page(
    tokens: Tokens, request: Any, rows: Callable[[Key | None], Iterable[R]], key: Callable[[R], Key], *, default: int
) -> tuple[list[R], str]:
    """One page of rows that are in the order of their `key` already, as `one_page`.

    `rows`: those after a key (None: all). Of these only the rows of this page are taken, and one more.
    """
    size = request.page_size or default
    found = list(itertools.islice(rows(page_begin(tokens, request)), size + 1))
    page = found[:size]
    return page, page_token(tokens, request, key(page[-1])) if len(found) > size else ""


def scan_page(
    tokens: Tokens, request: Any, view: Scanned[R], *, default: int, prefix: str = ""
) -> tuple[list[tuple[str, R]], str]:
    """One page of a read model in the order of its keys, as `one_page`. Reads only the rows of this page, and one more.

    `prefix`: only rows whose keys begin so, and that no key is itself.
    """
    (after,) = page_begin(tokens, request) or (prefix,)
    size = request.page_size or default
    rows = [(key, row) for key, row in view.scan(str(after), size + 1) if key.startswith(prefix)]
    page = rows[:size]
    return page, page_token(tokens, request, (page[-1][0],)) if len(rows) > size else ""


def page_token(tokens: Tokens, request: Any, last: Key) -> str:
    """The token of a page that begins after a key."""
    return tokens.seal(_purpose(request), json.dumps(last, ensure_ascii=False, separators=(",", ":")).encode())


def page_begin(tokens: Tokens, request: Any) -> Key | None:
    """The key after which the page begins. BadRequest: the token is not of this list and this question."""
    if not request.page_token:
        return None
    try:
        return tuple(json.loads(tokens.unseal(_purpose(request), request.page_token, _TOKEN)))
    except ValueError:
        raise BadRequest([(_TOKEN, "is of an earlier release: leave it empty to begin anew")]) from None


def _purpose(request: Any) -> str:
    """The list, and the question without its page: a token is good for this question only."""
    asked = type(request)()
    asked.CopyFrom(request)
    for field in _NOT_ASKED:
        asked.ClearField(field)
    return f"page {request.DESCRIPTOR.full_name} {asked.SerializeToString(deterministic=True).hex()}"
