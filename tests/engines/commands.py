"""The `city` command, as somebody types it whose city is configured in a file."""

from __future__ import annotations

import subprocess
from pathlib import Path

from citybrain.mesh.settings import configuration
from citybrain.mesh.settings.values import Settings
from tests.helpers.city_command import run


def city(settings: Settings, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs it with these settings, written into `folder`, and nothing said in the environment."""
    file = folder / "city.yaml"
    configuration.write(settings, file)
    return run(folder, *arguments, "--config", str(file), limit_s=100)
