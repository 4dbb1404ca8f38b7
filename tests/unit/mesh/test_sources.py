"""How far a kind of source's clock may be from ours is what the city says, and else what the service says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.events import timestamp
from citybrain.mesh.manifest import ManifestError
from citybrain.mesh.runtime.clock import WallClock
from citybrain.mesh.service import Service, Source
from citybrain.mesh.settings.values import Settings, SourceClock
from citybrain.mesh.testing.parts import Parts, on_parts

PROBE = "citybrain.probe.v1.ProbeService"
SECOND = 1_000_000


class Probe(Service):
    """Hears of two kinds of source."""

    name = "probe"
    street = Source(ahead_s=1, behind_s=10)
    clock = Source(ahead_s=1, behind_s=1000)


def accepted(folder: Path, sources: Mapping[str, Any], name: str, seconds: Mapping[float, bool]) -> None:
    """Fails where a moment so many seconds from now is not taken or refused as it should be."""

    def run(parts: Parts) -> None:
        parts.process.settings = Settings(data=folder, sources=sources)  # type: ignore[arg-type]
        provider = next(one for one in parts.add(Probe, PROBE).dependencies if one.attr_name == name)
        for away, taken in seconds.items():
            moment = parts.process.clock.now() + int(away * SECOND)
            try:
                assert provider.moment(timestamp(moment), "at") == moment
                assert taken, away
            except BadRequest as error:
                assert not taken, error

    on_parts(folder, run, clock=WallClock())


def test_each_kind_has_its_own_limits(tmp_path: Path) -> None:
    accepted(tmp_path, {}, "street", {0: True, -5: True, -20: False, 30: False})
    accepted(tmp_path, {}, "clock", {0: True, -900: True, -1100: False, 30: False})


def test_the_city_may_set_others(tmp_path: Path) -> None:
    wide = {"probe.street": SourceClock(ahead_s=100, behind_s=500)}
    accepted(tmp_path, wide, "street", {50: True, 130: False, -400: True, -600: False})
    accepted(tmp_path, wide, "clock", {50: False})


def test_a_kind_of_source_that_a_service_has_not_is_named_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"sources names probe.streett, and .* there are probe.clock, probe.street"):
        accepted(tmp_path, {"probe.streett": {}, "health.beds": {}}, "street", {})
    accepted(tmp_path, {"health.beds": {}}, "street", {})
