"""An engine is chosen by its name: those of ours, and those that other packages bring."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from citybrain.event_store.store import StoreError
from citybrain.local.city import ROOT, LocalCity
from citybrain.mesh.settings import configuration, engines
from citybrain.mesh.settings.configuration import ConfigurationError
from citybrain.mesh.settings.engines import GROUP, OURS, NoSuchEngine, features_of, names
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.storage.backup import BackupError, back_up, restore
from citybrain.mesh.storage.distributed import Distributed
from citybrain.mesh.storage.embedded import Embedded
from citybrain.mesh.storage.engine import engine_named, open_engine

ROOMS = (
    "cli", "event_store", "gateway", "local", "mesh", "observability", "sagas", "services", "simulation", "stories", "tools",
)  # fmt: skip
LOOKS_LIKE_OURS = """
from citybrain.mesh.storage.distributed import Distributed
from citybrain.mesh.storage.embedded import Embedded

class Elsewhere(Embedded):
    pass
"""
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Lays down a package as pip would: its module, and the metadata that names the engine."""

    def package(name: str, engine: str, module: str, code: str = LOOKS_LIKE_OURS) -> Path:
        folder = tmp_path / name
        metadata = folder / f"{name}-1.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n", encoding="utf-8")
        (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{engine} = {module}:Elsewhere\n", encoding="utf-8")
        (folder / f"{module}.py").write_text(code, encoding="utf-8")
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, module, raising=False)
        return folder

    return package


def test_a_name_that_no_engine_has_is_refused_with_those_there_are(tmp_path: Path) -> None:
    path = tmp_path / "city.yaml"
    path.write_text("data: here\nstore: embeded\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        configuration.load(Settings, file=path, environment={})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}:2: store is embeded: there is no such engine: there are distributed, embedded;")
    with pytest.raises(NoSuchEngine, match="there are distributed, embedded"):
        engine_named("embeded")


def test_an_engine_that_another_distribution_brings_is_found_chosen_and_opened(tmp_path: Path, install: Install) -> None:
    install("far_away", "elsewhere", "far_engine")
    assert names() == ["distributed", "elsewhere", "embedded"]
    assert Settings.model_json_schema()["properties"]["store"]["enum"] == names()
    settings = Settings(data=tmp_path, store="elsewhere")

    async def opened() -> str:
        engine = await open_engine(settings, [])
        await engine.close()
        return type(engine).__name__

    assert asyncio.run(opened()) == "Elsewhere"


def test_our_engines_are_found_where_no_package_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engines, "entry_points", lambda **_: [])
    assert names() == ["distributed", "embedded"]
    assert [engine_named(name).__name__ for name in OURS] == ["Embedded", "Distributed"]
    assert Settings.model_validate({"store": "distributed"}).store == "distributed"


def test_no_package_takes_the_name_of_an_engine_of_ours(install: Install) -> None:
    install("grabs", "embedded", "grabbing_engine")
    assert [one.value for one in entry_points(group=GROUP)] == ["grabbing_engine:Elsewhere"]
    assert engine_named("embedded") is Embedded


def test_two_packages_that_bring_one_name_are_refused_and_both_are_named(install: Install) -> None:
    install("first", "elsewhere", "first_engine")
    install("second", "elsewhere", "second_engine")
    with pytest.raises(NoSuchEngine, match=r"first \(first_engine:Elsewhere\) and second \(second_engine:Elsewhere\)"):
        engine_named("elsewhere")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import a_driver_that_is_not_there", r"the engine elsewhere \(far_engine:Elsewhere\) cannot be loaded: No module"),
        ("", "cannot be loaded: module 'far_engine' has no attribute 'Elsewhere'"),
        ("class Elsewhere: pass", "the engine elsewhere is no class that inherits from citybrain.mesh.storage.engine.Engine"),
    ],
)
def test_what_cannot_be_an_engine_is_refused_and_named_as_its_package_has_it(install: Install, code: str, said: str) -> None:
    install("far_away", "elsewhere", "far_engine", code)
    with pytest.raises(StoreError, match=said):
        engine_named("elsewhere")
    with pytest.raises(StoreError, match="the engine elsewhere"):
        features_of("elsewhere")


@pytest.mark.parametrize("profile", ["laptop", "production"])
def test_a_process_whose_engine_cannot_be_loaded_says_so_in_a_line(tmp_path: Path, install: Install, profile: str) -> None:
    folder = install("far_away", "elsewhere", "far_engine", "")
    (tmp_path / "city.yaml").write_text(f"store: elsewhere\nprofile: {profile}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "from citybrain.mesh.startup.serve import main; raise SystemExit(main(['--port', '0']))"],
        cwd=tmp_path, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert done.stderr.startswith("city: the engine elsewhere (far_engine:Elsewhere) cannot be loaded")


def test_what_an_engine_is_can_be_asked_without_its_drivers(tmp_path: Path) -> None:
    asks = "[engines.features_of(name) for name in engines.OURS]"
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys; from citybrain.mesh.settings import engines; {asks}; print(*sys.modules)"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    ).stdout.split()  # fmt: skip
    assert "citybrain.mesh.storage.distributed" in loaded
    assert [name for name in ("cassandra", "confluent_kafka") if name in loaded] == []


def test_a_city_with_servers_of_its_own_is_on_the_engine_that_runs_on_them(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    assert LocalCity(settings).features == Embedded.features
    assert LocalCity(settings, engines=True).features == Distributed.features


def test_files_are_copied_only_of_an_engine_that_keeps_a_city_in_files(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data", store="distributed")
    with pytest.raises(BackupError, match="the engine distributed does not keep a city in files"):
        asyncio.run(back_up(settings, tmp_path / "copy", None, lambda *_: None))
    with pytest.raises(BackupError, match="the engine distributed does not keep a city in files"):
        asyncio.run(restore(settings, tmp_path / "copy", None, None, lambda *_: None))
    assert list(tmp_path.iterdir()) == []


def test_no_module_but_one_has_the_name_of_an_engine_or_compares_one() -> None:
    found = []
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        if path == Path(ROOT / "mesh" / "settings" / "engines.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (isinstance(node, ast.Constant) and node.value in OURS) or (
                isinstance(node, ast.Compare)
                and any(isinstance(one, ast.Attribute) and one.attr == "store" for one in (node.left, *node.comparators))
            ):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []
