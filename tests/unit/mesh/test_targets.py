"""Where Prometheus finds the processes of a city: a file for each, which a killed process leaves until another one begins."""

from __future__ import annotations

import json
from pathlib import Path

from citybrain.mesh.operations import targets
from citybrain.mesh.operations.presence import Presence


def told(data: Path) -> list[str]:
    files = sorted((data / targets.FOLDER).glob("*.json"))
    return [target for file in files for group in json.loads(file.read_text()) for target in group["targets"]]


def test_a_process_is_found_while_it_runs(tmp_path: Path) -> None:
    targets.announce(tmp_path, "gateway", "127.0.0.1:9", "/stats/prometheus")
    (file,) = (tmp_path / targets.FOLDER).glob("*.json")
    assert json.loads(file.read_text()) == [
        {"targets": ["127.0.0.1:9"], "labels": {"job": "city-gateway", "__metrics_path__": "/stats/prometheus"}}
    ]
    targets.withdraw(tmp_path, "gateway")
    assert told(tmp_path) == []


def test_a_killed_process_is_told_until_another_one_begins(tmp_path: Path) -> None:
    runs = Presence(tmp_path, "gateway", "127.0.0.1:1")
    targets.announce(tmp_path, "gateway", "127.0.0.1:1")
    left = tmp_path / targets.FOLDER / "mesh-1.json"
    left.write_text(json.dumps([{"targets": ["127.0.0.1:2"]}]))
    assert told(tmp_path) == ["127.0.0.1:1", "127.0.0.1:2"]
    targets.announce(tmp_path, "mesh", "127.0.0.1:3")
    assert told(tmp_path) == ["127.0.0.1:1", "127.0.0.1:3"]
    runs.leave()
