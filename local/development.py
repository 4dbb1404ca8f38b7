"""One service in development: a process beside a city, started anew whenever a file of it is saved."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from citybrain.local.child import ChildError, MeshChild
from citybrain.local.problems import Problem
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.settings.values import Settings

_LOOK_S = 0.1
_SUFFIXES = (".py", ".yaml", ".proto")
_BUILDER = Path("tools") / "build_stubs.py"


class Sources:
    """The files that a service is made of: its folder, and its contract."""

    def __init__(self, manifest: Manifest) -> None:
        self.folder = manifest.path.resolve().parent
        # In the repository of the city a service lies in services/<name>; in one of its own in a folder of it.
        city = self.folder.parents[1]
        self._root = city if (city / _BUILDER).is_file() else self.folder.parent
        self._protos = self._root / "protos"
        package = manifest.grpc.rpartition(".")[0].split(".")
        self._contract = self._protos.joinpath(*package)

    def state(self) -> dict[Path, int]:
        """When each file was changed."""
        found = [path for place in (self.folder, self._contract) for path in place.rglob("*") if path.suffix in _SUFFIXES]
        times: dict[Path, int] = {}
        for path in found:
            try:
                times[path] = path.stat().st_mtime_ns
            except OSError:
                # It went just now.
                continue
        return times

    def build_stubs(self) -> None:
        """Builds the stubs of the contract anew. Problem: it cannot be compiled, with the file and the line."""
        own = self._root / _BUILDER
        script = "from citybrain.cli.main import main; main()"
        command = (
            [str(own)] if own.is_file() else ["-c", script, "stubs", str(self._protos), "--into", str(self._root / "stubs")]
        )
        done = subprocess.run([sys.executable, *command], cwd=self._root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Problem(done.stderr.strip() or done.stdout.strip())


class Development:
    """Runs the service until `stop()`. `say` gets a sentence whenever something happened."""

    def __init__(
        self, manifest: Manifest, settings: Settings, folders: list[Path], peers: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        """`peers`: where neighbours answer that are found nowhere else, by their gRPC names."""
        self._name, self._say = manifest.name, say
        self._sources = Sources(manifest)
        arguments = [manifest.name, *(part for folder in folders for part in ("--folder", str(folder.absolute())))]
        own = settings.model_copy(update={"peers": {**settings.peers, **peers}, "port": 0})
        self.child = MeshChild(settings.data, arguments, settings=own, name=f"dev-{manifest.name}")
        self._ending = threading.Event()

    def run(self) -> None:
        """Starts it, and again after each change. Returns after `stop()`."""
        before = self._sources.state()
        # What is saved before the stubs are older than the contract.
        self._again(set(before))
        running = self.child.running
        try:
            while not self._ending.wait(_LOOK_S):
                if running and not self.child.running:
                    running = False
                    self._say(f"{self._name} {self.child.wait()}. It is started again when a file is saved")
                now = self._sources.state()
                if now == before:
                    continue
                changed = {path for path in now.keys() | before.keys() if now.get(path) != before.get(path)}
                before = now
                self._again(changed)
                running = self.child.running
        finally:
            self.child.stop()

    def stop(self) -> None:
        """Ends it."""
        self._ending.set()

    def _again(self, changed: set[Path]) -> None:
        begun = time.monotonic()
        try:
            if any(path.suffix == ".proto" for path in changed):
                self._sources.build_stubs()
            self.child.stop()
            self.child.start()
        except (ChildError, Problem) as error:
            self._say(f"{self._name} cannot run:\n{error}\nIt is tried again when a file is saved")
            return
        self._say(f"{self._name} answers after {time.monotonic() - begun:.1f} s, with {_named(changed)}")


def _named(changed: set[Path]) -> str:
    """The changed files, for people."""
    names = sorted(path.name for path in changed)
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} files"
