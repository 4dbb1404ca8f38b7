"""Installs the engine as packages are: a folder with its metadata is on the path, here and in processes that are started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALLED = Path(__file__).with_name("installed")


def install(patch: pytest.MonkeyPatch) -> None:
    patch.syspath_prepend(INSTALLED)
    path = [str(INSTALLED), str(ROOT), os.environ.get("PYTHONPATH", "")]
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
