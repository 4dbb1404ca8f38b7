"""`city status` of a city whose read model other code has folded: it says so with the command, which mends it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from tests.cli.test_backup import city
from tests.helpers.city_command import run
from tests.helpers.waiting import until

SERVICE = "citybrain.emergency_command.v1.EmergencyCommandService"
COMMAND = "`city rebuild emergency_command listed` folds all of them anew"


def status(folder: Path, data: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(folder, "status", "--data", str(data), "--json").stdout)
    return found


def change(data: Path, statement: str) -> None:
    """As if another release had left the file."""
    with contextlib.closing(sqlite3.connect(data / "emergency_command.views.db", isolation_level=None)) as file:
        assert file.execute(statement).rowcount > 0


def test_a_view_that_other_code_has_folded_is_a_line_with_the_command_that_rebuilds_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with city(data) as running:
        incident = running.report().incident_id
        until(lambda: running.listed() == {incident}, "not listed")
        assert status(tmp_path, data)["troubles"] == []
    change(data, "UPDATE folded_by SET code = 'older' WHERE grp = 'emergency_command.view.listed'")
    with city(data) as running:
        told = f"its rows were folded by other code than runs here: {COMMAND}"
        until(lambda: status(tmp_path, data)["troubles"] == [f"{SERVICE}/emergency_command.view.listed: {told}"], "not told")
        (process,) = status(tmp_path, data)["processes"]
        assert process["status"]["ready"] and running.listed() == {incident}, "calls are welcome"
        shown = run(tmp_path, "status", "--data", str(data))
        assert shown.returncode == 1
        assert f"✗ emergency_command: emergency_command.view.listed  {told}" in shown.stdout
        assert run(tmp_path, "rebuild", "emergency_command", "listed", "--data", str(data)).returncode == 0
        until(lambda: run(tmp_path, "status", "--data", str(data)).returncode == 0, "still told")
        assert running.listed() == {incident}


def test_rows_that_cannot_be_read_make_the_service_not_ready_until_they_are_rebuilt(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with city(data) as running:
        incident = running.report().incident_id
        until(lambda: running.listed() == {incident}, "not listed")
    change(data, "UPDATE rows SET row = json_remove(row, '$.reported') WHERE view = 'listed'")
    with city(data) as running:
        why = "it has no field reported, and reported has no default"
        told = f"row '{incident}' of emergency_command listed cannot be read: {why}; {COMMAND}"
        until(lambda: status(tmp_path, data)["troubles"] == [f"{SERVICE}/emergency_command.view.listed: {told}"], "not told")
        (process,) = status(tmp_path, data)["processes"]
        assert not process["status"]["ready"]
        assert run(tmp_path, "rebuild", "emergency_command", "listed", "--data", str(data)).returncode == 0
        until(lambda: run(tmp_path, "status", "--data", str(data)).returncode == 0, "still told")
        assert running.listed() == {incident}
