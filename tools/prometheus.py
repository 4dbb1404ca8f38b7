"""Fetches Prometheus and promtool into build/prometheus, once: tests check rules with them, and one runs a Prometheus.

They are Debian's, fetched by apt, which checks who signed the list of packages. What was fetched must have one of the hashes
below. `python -m tools.prometheus` fails with one line where they cannot be had here.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "build" / "prometheus"
PINS = {"2.42.0+ds-5+deb12u1": "81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55"}
"""Versions of Debian's package `prometheus` (amd64) that were tried, each with the SHA-256 of its file."""
PROGRAMS = ("prometheus", "promtool")


class NotHere(Exception):
    """The programs cannot be had on this machine; the message says why."""


def programs() -> dict[str, Path]:
    """Where each program is: in build/prometheus, where it is fetched to, or where this machine has it. NotHere: nowhere."""
    if not all((TARGET / name).is_file() for name in PROGRAMS):
        installed = {name: found for name in PROGRAMS if (found := shutil.which(name))}
        if len(installed) == len(PROGRAMS):
            return {name: Path(path) for name, path in installed.items()}
        _fetch()
    return {name: TARGET / name for name in PROGRAMS}


def _fetch() -> None:
    tools = [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]
    if tools:
        raise NotHere(f"there is no {tools[0]} here: install Prometheus 2.42 or newer, with promtool, on PATH")
    with tempfile.TemporaryDirectory() as folder:
        for version, digest in PINS.items():
            if _run("apt-get", "download", f"prometheus={version}", within=folder):
                (package,) = Path(folder).glob("*.deb")
                if hashlib.sha256(package.read_bytes()).hexdigest() != digest:
                    raise NotHere(f"the package prometheus {version} is another one than was tried")
                break
        else:
            raise NotHere(f"apt has none of the versions that were tried ({', '.join(PINS)}): run apt-get update, or add one")
        if not _run("dpkg-deb", "-x", str(package), "unpacked", within=folder):
            raise NotHere("the package prometheus cannot be unpacked")
        TARGET.mkdir(parents=True, exist_ok=True)
        for name in PROGRAMS:
            # Moved last, so that nobody runs half a program.
            draft = TARGET / f".{name}"
            shutil.copy2(Path(folder) / "unpacked" / "usr" / "bin" / name, draft)
            draft.replace(TARGET / name)


def _run(*command: str, within: str) -> bool:
    return subprocess.run(command, cwd=within, capture_output=True, timeout=300, check=False).returncode == 0


if __name__ == "__main__":
    try:
        programs()
    except NotHere as error:
        sys.exit(f"prometheus: {error}")
