"""The password with which a process logs in to a cluster. It stands in a file, never in a configuration."""

from __future__ import annotations

from pathlib import Path

from citybrain.event_store.store import StoreError


def read_password(cluster: str, addresses: str, file: Path | None, refused: type[StoreError] = StoreError) -> str:
    """The password in a file. Raises `refused` if no file is named, or it cannot be read."""
    if file is None:
        raise refused(f"{cluster} at {addresses} asks for a password: write it into a file, and name that file")
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise refused(f"the password for {cluster} cannot be read: {error}") from error
