"""Text that others wrote, as a terminal may be shown it.

A control character that reaches a terminal is a command to it: it moves the cursor, and changes what was written before.
"""

from __future__ import annotations

import re

# C0, DEL, C1, and what turns the direction of writing. In JSON what stands for them is the same text still.
_ABOVE = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_CONTROL = re.compile(f"[\x00-\x1f{_ABOVE}]")
_CONTROL_IN_LINES = re.compile(f"[\x00-\x09\x0b-\x1f{_ABOVE}]")


def escaped(text: str, *, lines: bool = False) -> str:
    r"""The text with every control character written out (`\u001b`); `lines`: it may have several."""
    return (_CONTROL_IN_LINES if lines else _CONTROL).sub(lambda found: f"\\u{ord(found[0]):04x}", text)
