"""Ids of notices: made of the incident, the district and the round, and taken apart again whatever characters those have.

They stand in addresses, so each part keeps letters, digits, `-` and `_`; every other byte is `~` and two digits.
"""

from __future__ import annotations

import re
import string

_PLAIN = frozenset((string.ascii_letters + string.digits + "-_").encode())


def notice_id(incident_id: str, district_id: str, number: int) -> str:
    """The id of the notice of a district in the incident's n-th round, from 1; the first needs no number."""
    parts = [_escaped(incident_id), _escaped(district_id)] + ([str(number)] if number > 1 else [])
    return ".".join(parts)


def incident_of(notice: str) -> str:
    """The incident of a notice; of what is no id of one, something that is no incident."""
    escaped = notice.partition(".")[0]
    try:
        return re.sub(rb"~([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), escaped.encode()).decode()
    except UnicodeDecodeError:
        return escaped


def _escaped(part: str) -> str:
    return "".join(chr(byte) if byte in _PLAIN else f"~{byte:02x}" for byte in part.encode())
