"""`city keys rewrap` where the keys stand in Cassandra, as somebody types it."""

from __future__ import annotations

from pathlib import Path

from citybrain.mesh.settings.values import Settings
from tests.cli.test_keys import changed_while_it_runs


def test_the_master_key_is_changed_while_the_city_runs_on_engines(settings: Settings, tmp_path: Path) -> None:
    changed_while_it_runs(tmp_path, settings)
