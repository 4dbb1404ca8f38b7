"""Switches off each security mechanism in turn, in a copy of the tree, and runs the tests that hold it: they must fail.

`make mechanisms`; `make mechanisms ARGS="scope redaction"` for some. Ends with the number of mechanisms that were not held.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools.copying import copy_tree
from tools.mechanisms import MECHANISMS, Mechanism

ROOT = Path(__file__).resolve().parent.parent

_LIMIT_S = 600
# What pytest says: nothing failed, something failed.
_GREEN, _RED = 0, 1


def main(names: Sequence[str]) -> int:
    """Tries the named ones, or all; returns how many are not held by their tests."""
    known = {one.id: one for one in MECHANISMS}
    if unknown := [name for name in names if name not in known]:
        sys.stderr.write(f"there is no mechanism {', '.join(unknown)}: there are {', '.join(known)}\n")
        return 1
    chosen = [known[name] for name in names] or list(MECHANISMS)
    for one in chosen:
        one.applied((ROOT / one.file).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="mechanisms-") as folder:
        copy = Path(folder) / "tree"
        copy_tree(copy)
        (copy / "build").symlink_to(ROOT / "build")
        tests = list(dict.fromkeys(test for one in chosen for test in one.tests))
        code, said = _run(copy, tests)
        if code != _GREEN:
            sys.stderr.write(f"the tests must be green before anything is switched off:\n{said}\n")
            return 1
        return sum([not _held(copy, one) for one in chosen])


def _held(copy: Path, one: Mechanism) -> bool:
    """Whether each of the tests fails without the mechanism. Prints a line."""
    file = copy / one.file
    whole = file.read_text(encoding="utf-8")
    green: list[str] = []
    begun = time.monotonic()
    try:
        _write(file, one.applied(whole))
        for test in one.tests:
            code, said = _run(copy, [test])
            if code == _GREEN:
                green.append(f"{test} stays green")
            elif code != _RED or re.search(r"^ERROR .*(::|\.py)", said, re.M):
                # A test that could not even begin says nothing about the mechanism.
                green.append(f"{test} could not be run:\n{said[-2000:]}")
    finally:
        _write(file, whole)
    verdict = "red" if not green else "; ".join(green)
    sys.stdout.write(f"{one.id:28} {time.monotonic() - begun:5.0f} s  {verdict}\n")
    sys.stdout.flush()
    return not green


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    # What was compiled a second ago looks as if it were of this text.
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        compiled.unlink()


def _run(copy: Path, tests: Iterable[str]) -> tuple[int, str]:
    """The exit code of pytest, and what it said."""
    python = copy / ".venv" / "bin" / "python"
    command = [
        str(python if python.exists() else sys.executable),
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "--tb=line",
        "-rfE",
        *tests,
    ]
    try:
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return -1, f"was not done after {_LIMIT_S} s"
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
