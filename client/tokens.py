"""Where the token of each call comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Token = str | Path | Callable[[], str]
"""A token; a file with one, which is read again for each call, so that a new one is taken up; or a function that gives one."""


def source(token: Token) -> Callable[[], str]:
    """A function that gives the token of a call. ValueError: it gives none."""

    def read() -> str:
        text = token if isinstance(token, str) else token.read_text(encoding="utf-8") if isinstance(token, Path) else token()
        text = text.strip()
        if not text or not text.isascii() or not text.isprintable():
            where = f"in {token}" if isinstance(token, Path) else "given"
            raise ValueError(f"there is no token {where}: the city gives one out, e.g. `city token` on the machine it runs on")
        return text

    return read
