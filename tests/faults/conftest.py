"""The city on paper that is killed: its mesh in a process of its own, with time that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from citybrain.local.child import MeshChild
from tests.helpers.paper_bureau import PaperBureau
from tests.helpers.paper_lake import PaperLake


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[MeshChild]:
    with MeshChild(tmp_path / "data", ["--driven"]) as child:
        yield child


@pytest.fixture
def bureau(mesh: MeshChild) -> Iterator[PaperBureau]:
    city = PaperBureau(mesh.address, mesh.log_path.parent)
    city.build_park()
    yield city
    city.close()


@pytest.fixture
def lake(mesh: MeshChild) -> Iterator[PaperLake]:
    city = PaperLake(mesh.address, mesh.log_path.parent)
    city.build_lake()
    yield city
    city.close()
