"""A copy of the tree, in which something may be changed and tried."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def copy_tree(copy: Path) -> None:
    """Copies the tree, without what is built, and gives it an interpreter of its own: `.venv/bin/python` of the copy."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, copy / name
        if source.is_symlink() or source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    # An interpreter of its own, which knows what is installed, and of the project the copy alone.
    venv.create(copy / ".venv", with_pip=False)
    (own,) = (copy / ".venv" / "lib").glob("python*/site-packages")
    places = [str(copy / "src"), str(copy / "build" / "python"), *(one for one in sys.path if one.endswith("site-packages"))]
    (own / "copy.pth").write_text("\n".join(places) + "\n", encoding="utf-8")
