"""reload: from a save to an answer with the new code, through the gateway, beside a city."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import Aim, Row, quantile
from citybrain.local.city import LocalCity
from citybrain.local.contracts import build_stubs
from citybrain.local.development import Development
from citybrain.local.reflection import CallError, Remote
from citybrain.mesh.manifest import find_manifests
from citybrain.mesh.settings.values import Settings

_CITY = (sys.executable, "-c", "from citybrain.cli.main import main; main()")
_OPEN = '{"siteId": "s1", "districtId": "xihu", "name": "%s"}'
_LIMIT_S = 60.0


def measure(saves: int = 9) -> list[Row]:
    """The row, beside the start of one process of the same service, without a gateway and without looking for changes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([*_CITY, "new", "service", "parks"], cwd=folder, check=True, capture_output=True)
        parks = folder / "parks"
        build_stubs(parks / "protos", parks / "stubs")
        (manifest,) = find_manifests([parks])
        settings = Settings(data=folder / "data")
        with LocalCity(settings, only=["emergency_command"]) as city, _developed(parks, settings) as development:
            assert city.gateway is not None and manifest.name == "parks"
            taken = sorted(_reloads(parks / "parks" / "domain.py", city.gateway.address, city.token(), saves))
            development.child.stop()
            started = sorted(_starts(development, saves))
    aim = Aim(2.0, "value", least=False)
    return [Row("reload p50", quantile(taken, 0.5), "s", "start of the process alone", quantile(started, 0.5), aim)]


@contextlib.contextmanager
def _developed(parks: Path, settings: Settings) -> Iterator[Development]:
    (manifest,) = find_manifests([parks])
    ready = threading.Event()
    development = Development(manifest, settings, [parks], {}, lambda _: ready.set())
    running = threading.Thread(target=development.run)
    running.start()
    try:
        assert ready.wait(_LIMIT_S)
        yield development
    finally:
        development.stop()
        running.join()


def _reloads(domain: Path, address: str, token: str, saves: int) -> Iterator[float]:
    """Seconds from each save until a call is answered with the new text."""
    text = domain.read_text(encoding="utf-8")
    with Remote(address, token) as remote:
        end = time.monotonic() + _LIMIT_S
        while "warnings" not in _answer(remote, "曲院风荷"):
            assert time.monotonic() < end
        for number in range(saves):
            begun = time.monotonic()
            domain.write_text(text.replace("choose another id", f"choose another, says save {number}"), encoding="utf-8")
            while f"says save {number}" not in _answer(remote, "太子湾"):
                assert time.monotonic() - begun < _LIMIT_S
            yield time.monotonic() - begun


def _answer(remote: Remote, name: str) -> str:
    try:
        return str(list(remote.call("parks/OpenSite", _OPEN % name, timeout_s=_LIMIT_S, metadata=[])))
    except CallError as error:
        return str(error)


def _starts(development: Development, times: int) -> Iterator[float]:
    for _ in range(times):
        begun = time.monotonic()
        development.child.start()
        yield time.monotonic() - begun
        development.child.stop()
