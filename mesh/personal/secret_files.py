"""Files that only the city's account may read: all that a city keeps, and its secret keys (32 random bytes each)."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

SECRET_BYTES = 32

OWN_FILES = 0o077
"""The umask of every process that writes to a data folder: only the city's account may read what it keeps."""


def make_secret(path: Path) -> None:
    """Makes a secret file if it is missing. It is there whole or not at all, also after a crash."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent) as draft:
            draft.write(secrets.token_bytes(SECRET_BYTES))
            draft.flush()
            os.fsync(draft.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(draft.name, path)


def read_secret(path: Path, what: str, otherwise: str) -> bytes:
    """The secret in a file. OSError: there is no file, or no key in it; then `otherwise` says what to do."""
    if not path.is_file():
        raise OSError(f"there is no {what} at {path}: make one with `head -c {SECRET_BYTES} /dev/urandom > {path}`")
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise OSError(f"{path} is no key of {SECRET_BYTES} bytes: {otherwise}")
    return secret
