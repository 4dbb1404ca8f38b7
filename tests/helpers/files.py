"""Where tests keep their files: in memory, where there is room."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108
ROOM_BYTES = 4 * 1024**3
"""So much is free there, or it is left alone. A run uses below one."""


def keep_files_in_memory(memory: Path = MEMORY) -> None:
    """Lets this process, and those that it starts, make temporary files in memory, unless somebody has said where.

    A commit waits until the disk has it, some milliseconds each. Tests make some hundred thousand and never cut the power: of
    what a killed process has written, a file in memory keeps as much as one on a disk.
    """
    if "TMPDIR" in os.environ or not _fits(memory):
        return
    folder = memory / f"city-tests-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return
    if folder.stat().st_uid == os.getuid() and not folder.is_symlink():
        os.environ["TMPDIR"] = str(folder)
        tempfile.tempdir = None


def _fits(memory: Path) -> bool:
    """Whether files can be made there, and run: some tests install programs."""
    try:
        flags = os.statvfs(memory).f_flag
    except OSError:
        return False
    return not flags & os.ST_NOEXEC and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= ROOM_BYTES
