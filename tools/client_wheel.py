"""Makes the wheel citybrain-client: the room client/ and the stubs of all contracts, and nothing of the mesh.

Run by `make wheel`, after `make stubs`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_NO_CACHES = shutil.ignore_patterns("__pycache__")
_PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "citybrain-client"
version = "{version}"
description = "Talks to a City Brain: subscriptions that go on where they were, calls with tokens and retries, the contracts."
readme = "README.md"
requires-python = "{python}"
license = "{licence}"
dependencies = {dependencies}

[tool.setuptools.packages.find]
include = ["citybrain*", "buf*"]

[tool.setuptools.package-data]
"*" = ["py.typed", "*.pyi"]
"""


def assemble(folder: Path) -> None:
    """Puts together what the wheel is made from."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements" / "client.in").read_text(encoding="utf-8").splitlines()
    dependencies = [line for line in lines if line and not line.startswith("#")]
    text = _PROJECT.format(
        version=project["version"], python=project["requires-python"], licence=project["license"], dependencies=dependencies
    )
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "build" / "python", folder, dirs_exist_ok=True, ignore=_NO_CACHES)
    shutil.copytree(ROOT / "client", folder / "citybrain" / "client", ignore=_NO_CACHES)
    for name in ("LICENSE", "client/README.md"):
        shutil.copy(ROOT / name, folder)


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=ROOT / "dist", help="where the wheel is put")
    into = parser.parse_args().into.absolute()
    with tempfile.TemporaryDirectory() as folder:
        assemble(Path(folder))
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
        ]
        return subprocess.run([*pip, "--wheel-dir", str(into), folder], cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
