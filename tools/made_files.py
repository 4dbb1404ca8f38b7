"""A folder whose files are all made: which have drifted, and writing them anew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def drift(folder: Path, pattern: str, wanted: Mapping[str, str]) -> list[str]:
    """The names of files that are missing, too many, or other than they should be. `wanted`: name → text."""
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob(pattern)}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def write(folder: Path, pattern: str, wanted: Mapping[str, str]) -> None:
    """Writes all of them, and removes what is made no more."""
    folder.mkdir(exist_ok=True)
    for path in folder.glob(pattern):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")
