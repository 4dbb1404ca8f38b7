"""The files of one Envoy: its own, and those it watches. They change in an order in which no call is without a way."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from citybrain.gateway.configuration import as_yaml
from citybrain.gateway.errors import GatewayError
from citybrain.gateway.reload import CLUSTERS, Parts, Watched, clusters_file, clusters_of

_TAKEN_S = 30.0
_PAUSE_S = 0.02


class EnvoyFiles:
    """`ask`: the answer of Envoy's admin interface to a GET; OSError: there is none."""

    def __init__(self, folder: Path, ask: Callable[[str], str]) -> None:
        self._folder = folder
        self._ask = ask
        self._watched: dict[str, Watched] = {}

    def begin(self, parts: Parts) -> Path:
        """Writes all files, for an Envoy that starts; returns the file that it is started with."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, file in parts.watched.items():
            self._write(name, file.text)
        self._watched = dict(parts.watched)
        return self._write("envoy.yaml", as_yaml(parts.bootstrap))

    def change(self, parts: Parts) -> None:
        """Replaces what differs, and waits until Envoy has taken it. GatewayError: it did not, and has the old files again."""
        before = dict(self._watched)
        try:
            for name, file in parts.watched.items():
                # Addresses that are no more in use go last: until then routes lead there.
                self._replace(name, _joined(before[name], file) if name == CLUSTERS else file)
            self._replace(CLUSTERS, parts.watched[CLUSTERS])
        except (GatewayError, OSError) as error:
            for name, file in before.items():
                self._write(name, file.text)
            self._watched = before
            raise GatewayError(f"the gateway stays as it was: {error}") from None

    def calls_under_way(self) -> int:
        """How many calls services have not answered yet, without streams."""
        most = {
            one["name"]: next(
                limit["max_requests"] for limit in one["circuit_breakers"]["thresholds"] if limit["priority"] == "HIGH"
            )
            for one in clusters_of(self._watched[CLUSTERS].text).values()
            if "circuit_breakers" in one
        }
        told = json.loads(self._ask("/stats?format=json&filter=circuit_breakers.high.remaining_rq$"))["stats"]
        left = {one["name"].split(".")[1]: one["value"] for one in told if "value" in one}
        return sum(limit - left.get(name, limit) for name, limit in most.items())

    def _replace(self, name: str, file: Watched) -> None:
        if file.version == self._watched[name].version:
            return
        refused = self._stats(file.stat).get("update_rejected", 0)
        self._write(name, file.text)
        self._watched[name] = file
        end = time.monotonic() + _TAKEN_S
        while time.monotonic() < end:
            now = self._stats(file.stat)
            if now.get("update_rejected", 0) != refused:
                raise GatewayError(f"Envoy refuses the new {self._folder / name}; its log says why")
            # An address is in use when it is known, e.g. when its name was looked up.
            if now.get("version_text") == file.version and not self._warming(name):
                return
            time.sleep(_PAUSE_S)
        raise GatewayError(f"Envoy did not take up the new {self._folder / name} in {_TAKEN_S:g} s")

    def _warming(self, name: str) -> bool:
        return name == CLUSTERS and bool(self._stats("cluster_manager").get("warming_clusters"))

    def _stats(self, prefix: str) -> Mapping[str, Any]:
        """What Envoy counts under a name."""
        wanted = quote(f"^{re.escape(prefix)}\\.[a-z_]+$")
        told = json.loads(self._ask(f"/stats?format=json&filter={wanted}"))
        return {one["name"].rpartition(".")[2]: one["value"] for one in told["stats"] if "value" in one}

    def _write(self, name: str, text: str) -> Path:
        file = self._folder / name
        written = file.with_suffix(".new")
        written.write_text(text, encoding="utf-8")
        return written.replace(file)


def _joined(before: Watched, after: Watched) -> Watched:
    return clusters_file(list((clusters_of(before.text) | clusters_of(after.text)).values()))
