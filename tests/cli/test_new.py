"""`city new service`: what it makes works as it is, and nothing that is there is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from citybrain.local.city import ROOT
from citybrain.mesh.manifest import find_manifests, read_manifest
from tests.helpers.city_command import run
from tools.copying import copy_tree

CITY = ("-c", "from citybrain.cli.main import main; main()")


def done(copy: Path, *command: str) -> str:
    """What a command of the interpreter of a copy of the tree says."""
    here = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    python = str(copy / ".venv" / "bin" / "python")
    one = subprocess.run([python, *command], cwd=copy, env=here, capture_output=True, text=True, timeout=110, check=False)
    assert one.returncode == 0, one
    return one.stdout


def test_a_service_in_the_repository_of_the_city_passes_its_checks_and_its_tests_as_it_is(tmp_path: Path) -> None:
    copy = tmp_path / "city"
    copy_tree(copy)
    shutil.copytree(ROOT / "build" / "third_party", copy / "build" / "third_party")
    if (ROOT / ".mypy_cache").is_dir():
        # What it knows of the other files: to look at all of them again takes longest.
        shutil.copytree(ROOT / ".mypy_cache", copy / ".mypy_cache")
    subprocess.run(["git", "init", "-q", "."], cwd=copy, check=True)
    done(copy, "-m", "tools.build_stubs")
    said = done(copy, *CITY, "new", "service", "air_quality", "--title", "Air quality (空气质量)", "--team", "environment")
    assert "services/air_quality/service.py" in said and "pytest tests/unit/air_quality" in said
    assert " passed" in done(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/air_quality")
    # What `make check` does, where it can find something in a new service.
    done(copy, "-m", "ruff", "check", "services", "tests/unit")
    done(copy, "-m", "ruff", "format", "--check", "services", "tests/unit")
    done(copy, "-m", "mypy", "services/air_quality", "tests/unit/air_quality")
    assert done(copy, "-m", "tools.check_repository").endswith("may call: none\n")
    reads = (copy / "protos" / "consumers.yaml").read_text(encoding="utf-8")
    assert "air_quality:\n  team: environment\n  reads:\n" in reads
    owners = (copy / ".github" / "CODEOWNERS").read_text(encoding="utf-8")
    assert "/services/air_quality/ @hangzhou-city-brain/environment" in owners
    assert '"title": "Air quality (空气质量)"' in (copy / "observability" / "grafana" / "air_quality.json").read_text(
        encoding="utf-8"
    )
    ports = [manifest.port for manifest in find_manifests([copy / "services", copy / "sagas"])]
    assert len(ports) == len(set(ports))


def test_a_service_anywhere_else_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    # A name that holds names of the template.
    said = run(tmp_path, "new", "service", "parks_domain").stdout
    assert "cd parks_domain && city stubs protos" in said
    manifest = read_manifest(tmp_path / "parks_domain" / "parks_domain" / "manifest.yaml")
    assert manifest.entry == "parks_domain.service:ParksDomainService"
    assert (manifest.title, manifest.team) == ("ParksDomain", "parks-domain")
    for path in (tmp_path / "parks_domain").rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert "citybrain.services" not in text and "PARKS" not in text and "parks_domain_domain" not in text, path


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["Parks"], "cannot be the name of a service: take small letters"),
        (["class"], "cannot be the name of a service"),
        (["parks", "--team", "Parks!"], "cannot be the name of a team"),
        (["traffic"], "there is a service traffic already, Traffic (交通): choose another name"),
    ],
)
def test_what_cannot_be_made_is_told_in_one_line_and_nothing_is_written(tmp_path: Path, words: list[str], problem: str) -> None:
    one = run(tmp_path, "new", "service", *words)
    assert one.returncode == 2
    assert problem in one.stderr and len(one.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "parks" / "README.md"
    mine.parent.mkdir()
    mine.write_text("mine", encoding="utf-8")
    one = run(tmp_path, "new", "service", "parks")
    assert one.returncode == 2 and "is there already, and nothing is overwritten" in one.stderr
    assert [path.name for path in mine.parent.iterdir()] == ["README.md"] and mine.read_text(encoding="utf-8") == "mine"
