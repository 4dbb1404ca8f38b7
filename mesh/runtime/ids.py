"""Ids where they cannot go as they are: put together into one text, and in headers. Both ways each text has one meaning."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

_UNUSUAL = re.compile(r"[^\w-]")
# HTTP takes blanks at the ends away.
_NOT_IN_HEADERS = re.compile(r"[^\x20-\x7e]|%|^ +| +$")


def joined(*ids: str) -> str:
    """Several ids as one, with a dot between; `parted` finds them again. Usual ids stay readable: `inc-1.west`."""
    return ".".join(_UNUSUAL.sub(_written_out, one) for one in ids)


def parted(text: str) -> tuple[str, ...]:
    """The ids that were `joined`."""
    return tuple(map(unquote, text.split(".")))


def in_header(text: str) -> str:
    """The text as a header may hold it: what is no printable ASCII is written out (`%E4%B8%AD`)."""
    return _NOT_IN_HEADERS.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    # `quote` leaves dots.
    return quote(found[0], safe="").replace(".", "%2E")
