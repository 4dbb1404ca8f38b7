"""`city log` where there is no log apart from the streams."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from citybrain.cli.log import app
from citybrain.local.problems import Problem


def test_an_embedded_store_has_nothing_to_compare(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["verify", "--data", str(tmp_path)])
    assert isinstance(done.exception, Problem)
    assert "its log and its streams are one" in str(done.exception)
