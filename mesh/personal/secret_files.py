"""Files that only the account of the city may read: keys of this installation, 32 random bytes each, and all that it keeps."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

SECRET_BYTES = 32

OWN_FILES = 0o077
"""What a city keeps is read by nobody but its account: the umask of everything that writes to a data folder."""


def make_secret(path: Path) -> None:
    """Makes one where there is none. Whole or not at all: a crash leaves no empty one, and nobody reads half of one."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent) as draft:
            draft.write(secrets.token_bytes(SECRET_BYTES))
            draft.flush()
            os.fsync(draft.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(draft.name, path)


def read_secret(path: Path, what: str, otherwise: str) -> bytes:
    """What a file holds. OSError where there is none, or where it is no key: then `otherwise` says what to do."""
    if not path.is_file():
        raise OSError(f"there is no {what} at {path}: make one with `head -c {SECRET_BYTES} /dev/urandom > {path}`")
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise OSError(f"{path} is no key of {SECRET_BYTES} bytes: {otherwise}")
    return secret
