"""The version is the same wherever it is read: the command, the wheel, the changelog, the tag."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from citybrain.cli.local import ROOT
from tools.release import disagreements

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RELEASED = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - a day\n\n## [0.1.0] - a day before\n"
NOT_OURS = shutil.ignore_patterns(".git", ".venv", "data", "wheel", "scenarios", "__pycache__", "*.egg-info", ".*_cache")


@pytest.mark.parametrize(
    ("version", "tags", "word"),
    [
        ("0.2.0", [], ""),
        ("0.2.0", ["v0.2.0"], ""),
        ("0.3.0.dev0", [], ""),
        ("0.2.0.dev0", [], "was released already"),
        ("0.3.0", [], r"newest release must be \[0\.3\.0\]"),
        ("0.1.0", [], r"newest release must be \[0\.1\.0\]"),
        ("0.2.0", ["v0.2.1"], "must be v0.2.0"),
        ("0.3.0.dev0", ["v0.3.0"], "must be v0.3.0.dev0"),
    ],
)
def test_a_version_that_the_changelog_or_the_tag_does_not_know_is_named(version: str, tags: list[str], word: str) -> None:
    found = disagreements(version, RELEASED, tags)
    assert len(found) == (word != "")
    if word:
        with pytest.raises(AssertionError, match=word):
            raise AssertionError(found[0])


def test_the_version_of_this_tree_is_told_the_same_everywhere() -> None:
    at_head = subprocess.run(["git", "tag", "--points-at", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    tags = [tag for tag in at_head.stdout.split() if tag.startswith("v")]
    assert disagreements(PROJECT["version"], (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), tags) == []


def test_the_wheel_installs_the_command_the_contracts_and_every_room(tmp_path: Path) -> None:
    copy, wheels, installed = tmp_path / "copy", tmp_path / "wheels", tmp_path / "installed"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=NOT_OURS)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    here = {**os.environ, "PIP_NO_INDEX": "1"}
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(copy)]
    subprocess.run([*pip, *build], env=here, cwd=tmp_path, check=True, timeout=100)
    (wheel,) = wheels.iterdir()
    assert wheel.name == f"hangzhou_city_brain-{PROJECT['version']}-py3-none-any.whl"

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(installed)], check=True, timeout=100)
    python = installed / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", str(wheel)], env=here, check=True, timeout=100)
    # What the project stands on is installed here already; what is ours must come from the wheel.
    (own,) = installed.glob("lib/python*/site-packages")
    (own / "below.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")

    told = subprocess.run(
        [str(installed / "bin" / "city"), "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert (told.stdout, told.stderr) == (f"city {PROJECT['version']}\n", "")
    script = (
        "from citybrain.mesh.serve import choose\n"
        "from citybrain.health.v1 import health_service_pb2_grpc\n"
        "import citybrain, citybrain.mesh.service, citybrain.sagas.service\n"
        "print(list(citybrain.__path__), [manifest.name for manifest in choose([], [])])"
    )
    found = subprocess.run([str(python), "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    services = sorted(path.parent.name for path in [*ROOT.glob("services/*/manifest.yaml"), ROOT / "sagas" / "manifest.yaml"])
    assert found.stdout == f"{[str(own / 'citybrain')]} {services}\n", found.stderr
    rooms = [path.name for path in (ROOT / "src" / "citybrain").iterdir()]
    assert [room for room in rooms if not (own / "citybrain" / room / "py.typed").is_file()] == []


def test_what_is_removed_is_named_with_its_size_and_nothing_under_a_running_city(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    script = shutil.copy(ROOT / "tools" / "remove.sh", tmp_path / "tools")
    for name in ("data/events.db", "built/a", "kept/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 100_000)
    (tmp_path / "data" / "lock").touch()

    def remove(*names: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", str(script), *names], capture_output=True, text=True, timeout=60, check=False)

    with (tmp_path / "data" / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = remove("data", "built")
    assert refused.returncode == 1
    assert "a city runs on data: stop it first" in refused.stderr
    assert (tmp_path / "built").is_dir()
    done = remove("data", "bui*", "nothing").stdout.splitlines()
    assert [re.sub(r"\d+", "N", line) for line in done] == ["removed NK data", "removed NK built"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "tools"]
    assert remove("data").stdout == "there was nothing to remove\n"
