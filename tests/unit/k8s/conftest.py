"""Renders what is made, as `kubectl apply -k` would."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from citybrain.k8s import generator
from citybrain.k8s.environments import Environment, read
from citybrain.k8s.generator import ROOM, made, manifests
from citybrain.mesh.manifest import Manifest
from tools.kubernetes import KUBECTL

Object = dict[str, Any]
SERVICES = manifests()
ENVIRONMENTS = read(generator.ENVIRONMENTS)


@cache
def rendered(folder: Path) -> tuple[Object, ...]:
    """What `kubectl kustomize` makes of a folder."""
    if platform.machine() != "x86_64":
        pytest.skip("the wheel's kubectl is for x86-64")
    assert KUBECTL.is_file(), "kubectl is missing: make setup"
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader))


def overlay(environment: str, component: str = "") -> tuple[Object, ...]:
    """What is committed of an environment, or of one component of it."""
    return rendered(ROOM / "overlays" / environment / component)


def named(objects: tuple[Object, ...] | list[Object], kind: str, name: str) -> Object:
    """The one object of a kind and name."""
    (found,) = [one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


@pytest.fixture
def rendering(tmp_path: Path) -> Callable[..., tuple[Object, ...]]:
    """Renders production, changed, in a folder of its own."""
    number = iter(range(100))

    def render(changed: Environment, services: list[Manifest] = SERVICES) -> tuple[Object, ...]:
        room = tmp_path / f"room-{next(number)}"
        for path, text in made(services, {"production": changed}).items():
            (room / path).parent.mkdir(parents=True, exist_ok=True)
            (room / path).write_text(text, encoding="utf-8")
        return rendered(room / "overlays" / "production")

    return render
