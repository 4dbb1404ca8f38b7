"""Services that processes beside a city serve on its data folder, e.g. one in development. Its gateway opens to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from citybrain.mesh.manifest import Manifest
from citybrain.mesh.operations.neighbours import served

_LOOK_S = 0.5
# A service that is started again keeps its place meanwhile: callers are told that it is away, and not that nobody has it.
_KEPT_S = 10.0

# So many times one after the other are told, once.
_FAILED = 4


@dataclass(frozen=True, slots=True)
class Guest:
    """One such service. `address`: host:port, more with commas between. `pids`: of its processes."""

    manifest: Manifest
    address: str
    pids: tuple[int, ...]


class Guests:
    """Looks who is there. `changed` gets all guests by name: when one came, was started anew, or has been gone for a while."""

    def __init__(
        self,
        data: Path,
        own: Collection[str],
        changed: Callable[[Mapping[str, Guest]], None],
        say: Callable[[str], None],
    ) -> None:
        """`own`: names of services that are no guests. `say`: gets a sentence if `changed` failed; it is called again later."""
        self._data, self._own = data, own
        self._changed, self._say = changed, say
        self._known: Mapping[str, Guest] = {}
        self._seen: dict[str, float] = {}
        self._ending = threading.Event()
        self._looking = threading.Thread(target=self._look, name="guests", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._looking.start()

    def stop(self) -> None:
        """Looks no more."""
        self._ending.set()
        if self._looking.ident is not None:
            self._looking.join()

    def _look(self) -> None:
        failed = 0
        while not self._ending.wait(_LOOK_S):
            try:
                found = self._there()
                if found != self._known:
                    self._changed(found)
                    self._known, failed = found, 0
            except Exception as error:
                # Whatever a guest brings, the city goes on as it was. One that was just ended cannot be asked: no word of that.
                failed += 1
                if failed == _FAILED:
                    self._say(f"a service beside the city is not taken up: {error}")

    def _there(self) -> Mapping[str, Guest]:
        now = time.monotonic()
        found: dict[str, Guest] = {}
        for one, manifest in served(self._data):
            if manifest.name in self._own:
                continue
            before = found.get(manifest.name)
            addresses = {one.said["serves"], *(before.address.split(",") if before else ())}
            pids = (*(before.pids if before else ()), int(one.said["pid"]))
            found[manifest.name] = Guest(manifest, ",".join(sorted(addresses)), tuple(sorted(pids)))
            self._seen[manifest.name] = now
        for name, guest in self._known.items():
            if name not in found and now - self._seen[name] < _KEPT_S:
                found[name] = guest
        return found
