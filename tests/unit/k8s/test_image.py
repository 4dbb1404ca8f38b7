"""The image: its account is the one that pods run as, it holds every room, and no tag of it is the newest of anything."""

from __future__ import annotations

import re

from citybrain.k8s.generator import ROOM
from citybrain.k8s.pods import USER

ROOT = ROOM.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_account_of_the_image_is_the_one_that_pods_run_as() -> None:
    assert re.findall(r"useradd --uid (\d+)", DOCKERFILE) == re.findall(r"^USER (\S+)$", DOCKERFILE, re.M) == [str(USER)]


def test_the_base_is_one_release_of_python_and_packages_are_locked() -> None:
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.M) == ["python:${PYTHON}"] * 2
    assert re.search(r"^ARG PYTHON=3\.\d+-slim-\w+$", DOCKERFILE, re.M)
    assert "--require-hashes -r requirements/image.txt" in DOCKERFILE


def test_every_room_of_the_package_is_let_into_the_image_and_what_is_private_is_not() -> None:
    text = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    rooms = {path.name for path in (ROOT / "src" / "citybrain").iterdir()}
    assert rooms | {"src", "protos", "requirements", "pyproject.toml", "setup.py", "tools/build_stubs.py"} <= let_in
    assert lines[0] == "*", "everything else stays out"
    assert not {"data", ".git", ".venv", "build", "tests"} & let_in
