"""Shared by the tests that drive SUMO: the scenarios, and a mesh to drive against."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from citybrain.simulation.network import read_network
from citybrain.simulation.scenario import open_scenario
from citybrain.simulation.street import Street

ROOT = Path(__file__).parents[2]


def _fake() -> ModuleType:
    # Test folders are no packages: the module is loaded from where it lies.
    name = "citybrain_test_fake_mesh"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("fake_mesh.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def scenario_path() -> Callable[[str], Path]:
    """The configuration of a scenario by its name."""

    def path(name: str) -> Path:
        found = ROOT / "build/scenarios/sumo_rl/nets/RESCO" / name / f"{name}.sumocfg"
        if not found.is_file():
            pytest.skip("the scenarios are not installed")
        return found

    return path


@pytest.fixture
def street(scenario_path: Callable[[str], Path]) -> Callable[..., Street]:
    """A street at the very beginning of its scenario, while it is almost empty."""

    def opened(*, siren: bool) -> Street:
        scenario = open_scenario(scenario_path("cologne8"))
        return Street(scenario, read_network(scenario.net_file), 0, siren=siren)

    return opened


@pytest.fixture
def stand() -> Callable[[Street, str, int, int, int], None]:
    """Puts cars that do not move on a lane of a road, one behind the other."""

    def put(street: Street, road: str, lane: int, first_m: int, last_m: int) -> None:
        for front_m in range(first_m, last_m + 1, 8):
            name = f"stands-{lane}-{front_m}"
            street.sumo.routes.add(name, [road])
            street.sumo.vehicles.add(name, name, departLane=str(lane), departPos=str(front_m), departSpeed="0")
            street.sumo.stop_at(name, road, front_m + 0.5, lane, from_m=front_m - 0.5)

    return put


@pytest.fixture
def fake_mesh() -> ModuleType:
    """The module with the fake mesh."""
    return _fake()
