"""What operators do on the machine of a city is recorded, whether a process does it or not."""

from __future__ import annotations

import json
from pathlib import Path

from citybrain.local.child import MeshChild
from tests.helpers.city_command import run


def test_what_operators_do_without_a_process_is_recorded_too(tmp_path: Path) -> None:
    with MeshChild(tmp_path / "data", ["emergency_command"]):
        run(tmp_path, "status")
        run(tmp_path, "events", "lag")
    assert run(tmp_path, "backup", "copy").returncode == 0
    assert run(tmp_path, "keys", "rewrap").returncode == 0
    assert run(tmp_path, "erase", "per-0123456789abcdef").returncode == 2
    assert run(tmp_path, "audit", "list").returncode == 0
    found = json.loads(run(tmp_path, "audit", "list", "--json").stdout)
    told = [(record["subject"].partition(":")[0], record["method"], record["code"]) for record in found]
    status = "citybrain.mesh.v1.MeshService/GetStatus"
    assert set(told) >= {
        ("operator", status, "OK"),
        ("operator", "city backup", "OK"),
        ("operator", "city keys rewrap", "OK"),
        ("operator", "city erase", "OK"),
        ("operator", "city erase", "FAILED"),
        ("operator", "city audit list", "OK"),
    }
    (erased,) = [record for record in found if record["code"] == "FAILED"]
    assert erased["person_ids"] == ["per-0123456789abcdef"] and erased["reason"] == "UnknownPerson"
    assert run(tmp_path, "audit", "verify").returncode == 0
