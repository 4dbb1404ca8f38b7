"""The `city` command, as somebody types it whose city is configured in a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from citybrain.mesh.settings import configuration
from citybrain.mesh.settings.values import Settings

CITY = str(Path(sys.executable).parent / "city")


def city(settings: Settings, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs it with these settings, written into `folder`, and nothing said in the environment."""
    file = folder / "city.yaml"
    configuration.write(settings, file)
    environment = {name: text for name, text in os.environ.items() if not name.startswith(configuration.PREFIX)}
    command = [CITY, *arguments, "--config", str(file)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
