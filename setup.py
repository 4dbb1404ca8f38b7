"""What pyproject.toml cannot say: the stubs of the contracts are built beside the sources, and belong to the wheel."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

STUBS = Path("build/python")


class WithStubs(build_py):
    """Copies the stubs into a wheel. An editable installation finds them where they are built."""

    def run(self) -> None:
        """Raises SystemExit where a wheel would be without its contracts."""
        super().run()
        if self.editable_mode:
            return
        if not (STUBS / "citybrain").is_dir():
            raise SystemExit("the contracts are not built: run `make stubs` first")
        shutil.copytree(STUBS, self.build_lib, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        # What the gateway and other services' contracts need, and what people read.
        contracts = Path(self.build_lib) / "citybrain" / "contracts"
        shutil.copytree(Path("protos"), contracts / "protos", dirs_exist_ok=True)
        shutil.copyfile(Path("build/descriptors.binpb"), contracts / "descriptors.binpb")


# Beside what `make stubs` builds, not among it.
setup(cmdclass={"build_py": WithStubs}, options={"build": {"build_base": "build/wheel"}})
