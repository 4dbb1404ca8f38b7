"""Ids in other forms: several joined into one text, and one as a header can hold it. Each text has exactly one meaning."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

_UNUSUAL = re.compile(r"[^\w-]")
# HTTP removes blanks at the ends.
_NOT_IN_HEADERS = re.compile(r"[^\x20-\x7e]|%|^ +| +$")


def joined(*ids: str) -> str:
    """Several ids as one, with a dot between; `parted` finds them again. Usual ids stay readable: `inc-1.west`."""
    return ".".join(_UNUSUAL.sub(_written_out, one) for one in ids)


def parted(text: str) -> tuple[str, ...]:
    """The ids that were `joined`."""
    return tuple(map(unquote, text.split(".")))


def in_header(text: str) -> str:
    """The text as a header may hold it: letters that are not printable ASCII are written out (`%E4%B8%AD`)."""
    return _NOT_IN_HEADERS.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    # `quote` leaves dots as they are.
    return quote(found[0], safe="").replace(".", "%2E")
