"""What setup cannot work with, it says in one line before it touches anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from citybrain.local.city import ROOT

BELOW = sorted(path.relative_to(ROOT) for path in (ROOT / "requirements").iterdir())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The few files that setup reads, where it can harm nothing."""
    root = tmp_path / "copy"
    for file in (Path("tools/setup.sh"), Path("pyproject.toml"), *BELOW):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, root / file)
    return root


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder that comes first on PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    return folder


def put(folder: Path, name: str, script: str) -> Path:
    file = folder / name
    file.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
    file.chmod(0o755)
    return file


def refusal(copy: Path, programs: Path, python: str) -> str:
    """The one line that setup ends with; fails where it says more, or makes anything."""
    before = sorted(copy.rglob("*"))
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHON": python}
    done = subprocess.run(
        ["bash", str(copy / "tools" / "setup.sh")], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("setup: ")
    assert sorted(copy.rglob("*")) == before
    return line


def test_a_python_that_does_not_exist_is_named_with_what_to_do(copy: Path, programs: Path) -> None:
    line = refusal(copy, programs, "python-of-nobody")
    assert "python-of-nobody is not installed" in line and "make PYTHON=" in line


def test_a_python_that_is_too_old_is_told_with_its_version(copy: Path, programs: Path) -> None:
    old = put(programs, "python-old", '[ "$1" = --version ] && { echo Python 3.9.1; exit 0; }\ncat >/dev/null; exit 1')
    line = refusal(copy, programs, str(old))
    assert "Python 3.9.1 is too old" in line and "3.11" in line


def test_a_python_without_venv_is_told_which_package_to_install(copy: Path, programs: Path) -> None:
    script = f'[ "$1" = -c ] && {{ echo "No module named ensurepip" >&2; exit 1; }}\nexec {sys.executable} "$@"'
    line = refusal(copy, programs, str(put(programs, "python-bare", script)))
    assert "venv module is missing" in line and "python3-venv" in line


def test_a_disk_that_is_nearly_full_is_told_with_what_is_free(copy: Path, programs: Path) -> None:
    put(programs, "df", 'echo "Filesystem 1024-blocks Used Available Capacity Mounted"\necho "disk 9999999 1 2097152 1% /"')
    line = refusal(copy, programs, sys.executable)
    assert "less than 3 GB are free" in line and "2048 MB" in line


def test_a_python_is_found_by_its_path_too(copy: Path, programs: Path) -> None:
    put(programs, "df", "echo head\necho disk 1 1 0 1% /")
    assert "less than 3 GB are free" in refusal(copy, programs, str(Path(sys.executable).resolve()))


def test_a_long_download_says_how_far_it_is() -> None:
    said = "\n".join(
        [*(f"Collecting package-{n}" for n in range(60)), "  Downloading a.whl", "Installing collected packages: a", ""]
    )
    script = "source <(sed -n '/^progress()/,/^}/p' tools/setup.sh); progress 115"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, input=said, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [
        "setup: 25 of at most 115 packages found",
        "setup: 50 of at most 115 packages found",
        "setup: all are here and are unpacked now",
    ]
