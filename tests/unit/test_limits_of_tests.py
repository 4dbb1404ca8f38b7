"""The tests have limits of their own: one that hangs fails alone and shows where, and Ctrl-C reaches what a test starts."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

from citybrain.local.city import ROOT

HANGS = """
import threading

def waits_for_ever():
    threading.Event().wait()

def test_it_hangs():
    threading.Thread(target=waits_for_ever, daemon=True, name="beside").start()
    threading.Event().wait()

def test_behind_it():
    pass
"""
INTERRUPTS = """
import subprocess, sys

def test_a_child_is_interrupted():
    waits = "import time; print('up', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", waits], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout.readline()
    child.send_signal(2)
    assert child.wait(20) != 0
"""


def run(folder: Path, text: str, *arguments: str, ignored: bool = False) -> str:
    """What pytest prints about one file of tests, as it is configured and parted among processes here."""
    (folder / "tests" / "helpers").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in ("conftest.py", "helpers/files.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests" / name)
    (folder / "tests" / "test_one.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-n", "1", "--dist", "loadfile", *arguments, "tests"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=100, check=False,
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignored else None,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_test_that_hangs_fails_alone_with_the_stacks_of_all_threads(tmp_path: Path) -> None:
    said = run(tmp_path, HANGS, "--timeout", "2")
    assert "1 failed, 1 passed" in said, said
    assert "in waits_for_ever" in said and ">       threading.Event().wait()" in said, said


def test_ctrl_c_reaches_what_a_test_starts_though_the_shell_ignores_it(tmp_path: Path) -> None:
    assert "1 passed" in (said := run(tmp_path, INTERRUPTS, ignored=True)), said
