"""The version is the same wherever it is read: the command, the wheel, the changelog, the tag."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest

from citybrain.local.city import ROOT
from tools.release import disagreements

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RELEASED = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - a day\n\n## [0.1.0] - a day before\n"
NOT_OURS = shutil.ignore_patterns(
    ".git", ".venv", "data", "wheel", "scenarios", "kubernetes", "__pycache__", "*.egg-info", ".*_cache"
)


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
        "from citybrain.mesh.startup.serve import choose\n"
        "from citybrain.health.v1 import health_service_pb2_grpc\n"
        "import citybrain, citybrain.mesh.service, citybrain.sagas.service\n"
        "print(list(citybrain.__path__), [manifest.name for manifest in choose([], [])])"
    )
    found = subprocess.run([str(python), "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    services = sorted(path.parent.name for path in [*ROOT.glob("services/*/manifest.yaml"), ROOT / "sagas" / "manifest.yaml"])
    assert found.stdout == f"{[str(own / 'citybrain')]} {services}\n", found.stderr
    rooms = [path.name for path in (ROOT / "src" / "citybrain").iterdir()]
    assert [room for room in rooms if not (own / "citybrain" / room / "py.typed").is_file()] == []
    serves_another_teams_service(tmp_path, installed)


def test_the_wheel_of_the_client_has_the_contracts_and_nothing_of_the_mesh(tmp_path: Path) -> None:
    here = {**os.environ, "PIP_NO_INDEX": "1"}
    build = [sys.executable, str(ROOT / "tools" / "client_wheel.py"), "--into", str(tmp_path)]
    subprocess.run(build, env=here, check=True, timeout=100)
    (wheel,) = tmp_path.iterdir()
    assert wheel.name == f"citybrain_client-{PROJECT['version']}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        packed.extractall(tmp_path / "installed")
    assert {"citybrain/client/py.typed", "citybrain/health/v1/events_pb2.py", "citybrain/health/v1/events_pb2.pyi"} <= {*names}
    # Of the mesh's rooms only their contracts.
    rooms = {path.name for path in (ROOT / "src" / "citybrain").iterdir()} - {"client"}
    assert [name for name in names if name.split("/")[1] in rooms and name.split("/")[2] != "v1"] == []
    (metadata,) = (tmp_path / "installed").glob("*.dist-info/METADATA")
    needs = re.findall(r"^Requires-Dist: (\S+)", metadata.read_text(encoding="utf-8"), re.M)
    assert sorted(needs) == ["googleapis-common-protos", "grpcio", "protobuf", "typing_extensions"]
    script = (
        f"sys.path[:0] = [{str(tmp_path / 'installed')!r}]\n"
        "import google.rpc.status_pb2, grpc\n"
        "before = set(sys.modules)\n"
        "from citybrain.client import City\n"
        "from citybrain.client.contracts import _kind\n"
        "import citybrain\n"
        "assert _kind('citybrain.health.v1.AmbulanceReserved') is not None\n"
        "City('127.0.0.1:1', 'token').close()\n"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    # Without the site's own paths, and so without the mesh; what the wheel needs is put beside.
    below = sysconfig.get_path("purelib")
    found = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.append({below!r})\n{script}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert found.stdout == "['buf', 'citybrain', 'google', 'grpc']\n", found


@pytest.mark.parametrize(
    ("missing", "command", "extra"),
    [("sumolib", ["demo"], "demo"), ("wntr", ["demo", "burst"], "networks"), ("jgo", ["engines", "up"], "engines")],
)
def test_what_belongs_to_an_extra_that_is_not_installed_is_named_with_how_to_get_it(
    tmp_path: Path, missing: str, command: list[str], extra: str
) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['city', *{command!r}]; "
        "from citybrain.cli.main import main; main()"
    )
    here = {**os.environ, "CITY_ENGINES_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=here, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 2
    assert f"is not installed: pip install 'hangzhou-city-brain[{extra}]'" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def serves_another_teams_service(folder: Path, installed: Path) -> None:
    """From the wheel alone: a service in a repository of its own is made, tested, started, and called through the gateway."""
    here = {**os.environ, "CITY_PORT": "0", "PATH": os.pathsep.join([str(installed / "bin"), os.environ["PATH"]])}
    here.pop("PYTHONPATH", None)
    parks = folder / "parks"

    def run(*command: str, cwd: Path = parks) -> str:
        done = subprocess.run(command, env=here, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done
        return done.stdout

    assert "parks/service.py" in run("city", "new", "service", "parks", "--title", "Parks (公园)", cwd=folder)
    assert "citybrain/parks/v1/parks_service.proto → stubs" in run("city", "stubs", "protos")
    assert " passed" in run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "protos/consumers.yaml" in run("city", "contracts", "reads") and run("city", "contracts", "release")
    assert "✓ nothing is broken" in run("city", "contracts", "check")
    up = subprocess.Popen(
        ["city", "up", "--port", "0", "--folder", "."], env=here, cwd=parks, stdout=subprocess.PIPE, text=True
    )
    try:
        assert up.stdout is not None
        answers = next((line for line in up.stdout if "The city answers at" in line), "")
        address = answers.split()[4]
        site = {"siteId": "s1", "districtId": "xihu", "name": "曲院风荷"}
        opened = json.loads(run("city", "call", "parks/OpenSite", json.dumps(site), "--gateway", address))
        assert opened == {"site": {**site, "warnings": 0}}
        request = urllib.request.Request(f"http://{address}/v1/parks/sites", data=json.dumps(site).encode(), method="POST")
        request.add_header("content-type", "application/json")
        request.add_header("authorization", f"Bearer {run('city', 'token').strip()}")
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            assert json.load(answer) == opened
        status = run("city", "status")
        assert "✓" in status and "parks" in status
        assert "contracts  are those of the package" in run("city", "doctor")
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)


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
