"""Makes text of others safe to show on a terminal.

For a terminal a control character is a command: it can move the cursor, and change what was written before.
"""

from __future__ import annotations

import re

# C0, DEL, C1, and characters that turn the direction of writing. In JSON the escapes still mean the same text.
_ABOVE = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_CONTROL = re.compile(f"[\x00-\x1f{_ABOVE}]")
_CONTROL_IN_LINES = re.compile(f"[\x00-\x09\x0b-\x1f{_ABOVE}]")


def escaped(text: str, *, lines: bool = False) -> str:
    r"""The text with every control character written out (`\u001b`); `lines`: line breaks are kept."""
    return (_CONTROL_IN_LINES if lines else _CONTROL).sub(lambda found: f"\\u{ord(found[0]):04x}", text)
