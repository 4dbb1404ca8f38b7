"""Files of tests are in memory where there is room, and nowhere else than somebody has said."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.helpers import files


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=files.ROOM_BYTES))
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=0))


def test_they_are_made_in_a_folder_of_this_user(tmp_path: Path) -> None:
    files.keep_files_in_memory(tmp_path)
    folder = tmp_path / f"city-tests-{os.getuid()}"
    assert os.environ["TMPDIR"] == str(folder) == tempfile.gettempdir()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_where_somebody_has_said_where_they_are_made_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    files.keep_files_in_memory(tmp_path)
    assert os.environ["TMPDIR"] == "/elsewhere"


def test_without_room_they_stay_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=files.ROOM_BYTES - 1))
    files.keep_files_in_memory(tmp_path)
    assert "TMPDIR" not in os.environ


def test_where_programs_may_not_run_they_stay_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_NOEXEC))
    files.keep_files_in_memory(tmp_path)
    assert "TMPDIR" not in os.environ


def test_where_there_is_no_memory_to_keep_them_in_they_stay_on_the_disk(tmp_path: Path) -> None:
    files.keep_files_in_memory(tmp_path / "missing")
    assert "TMPDIR" not in os.environ


def test_a_folder_that_somebody_else_has_laid_there_is_not_used(tmp_path: Path) -> None:
    (tmp_path / f"city-tests-{os.getuid()}").symlink_to(tmp_path)
    files.keep_files_in_memory(tmp_path)
    assert "TMPDIR" not in os.environ
