"""`python -m citybrain.mesh.serve`: one process of the mesh. Says on standard output, in one JSON line, where it answers."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path

from citybrain.mesh.manifest import Manifest, ManifestError, find_manifests
from citybrain.mesh.process import Settings
from citybrain.mesh.runner import serve


def rooms() -> list[Path]:
    """Folders that hold services: those of this project."""
    import citybrain

    found: list[Path] = []
    for root in map(Path, citybrain.__path__):
        found += [path for path in (root / "services", root / "sagas") if path.is_dir()]
    return found


def choose(names: list[str], folders: list[Path]) -> list[Manifest]:
    """The manifests of some services, or of all; ManifestError names what does not exist."""
    manifests = find_manifests([*rooms(), *folders])
    known = {manifest.name: manifest for manifest in manifests}
    for name in names:
        if name not in known:
            raise ManifestError(f"there is no service {name}; there are: {', '.join(known)}")
    return [known[name] for name in names] if names else manifests


def end_with_input() -> None:
    """Stops this process when its standard input ends: then the parent that holds the other side is gone, however it went."""

    def watch() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="tether", daemon=True).start()


def main(arguments: list[str] | None = None) -> int:
    """Runs until it is asked to stop."""
    parser = argparse.ArgumentParser(prog="city serve", description="Runs services of the mesh in one process.")
    parser.add_argument("services", nargs="*", help="names of services; all when none is given")
    parser.add_argument("--folder", action="append", default=[], type=Path, help="a folder with more services")
    parser.add_argument("--without", action="append", default=[], help="leave a service out")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where events and views are kept")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--driven", action="store_true", help="city time is driven from outside")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="SERVICE=HOST:PORT", help="where another service answers"
    )
    parser.add_argument("--tethered", action="store_true", help="stop when standard input ends")
    options = parser.parse_args(arguments)
    if options.tethered:
        end_with_input()
    try:
        manifests = [m for m in choose(options.services, options.folder) if m.name not in options.without]
    except ManifestError as error:
        sys.stderr.write(f"city: {error}\n")
        return 2
    grpc_names = {manifest.name: manifest.grpc for manifest in find_manifests([*rooms(), *options.folder])}
    peers = {}
    for peer in options.peer:
        name, _, address = peer.partition("=")
        peers[grpc_names.get(name, name)] = address
    settings = Settings(
        data=options.data, host=options.host, port=options.port, time="driven" if options.driven else "wall", peers=peers
    )

    def ready(port: int) -> None:
        sys.stdout.write(json.dumps({"ready": f"{options.host}:{port}"}) + "\n")
        sys.stdout.flush()

    return serve(manifests, settings, ready)


if __name__ == "__main__":
    sys.exit(main())
