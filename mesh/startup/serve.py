"""`python -m citybrain.mesh.startup.serve`: one process of the mesh. One JSON line on standard output says where it answers."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from citybrain.event_store.store import StoreError
from citybrain.mesh.manifest import Manifest, ManifestError, find_manifests
from citybrain.mesh.personal.secret_files import OWN_FILES
from citybrain.mesh.settings.configuration import ConfigurationError, GivenValue, load
from citybrain.mesh.settings.values import ELSEWHERE, Settings
from citybrain.mesh.settings.version import installed_version
from citybrain.mesh.startup.runner import serve
from citybrain.mesh.upcasting import UpcastError, load_upcasters
from citybrain.observability.logs import LogFile, configure


def rooms() -> list[Path]:
    """Folders that hold services: those of this project."""
    import citybrain

    found: list[Path] = []
    for root in map(Path, citybrain.__path__):
        found += [path for path in (root / "services", root / "sagas") if path.is_dir()]
    return found


def importable(folders: Iterable[Path]) -> None:
    """Lets services in folders of their own be imported, and the stubs of their contracts, which `city stubs` makes there."""
    for folder in folders:
        sys.path += [str(path) for path in (folder.absolute(), folder.absolute() / "stubs") if str(path) not in sys.path]


def choose(names: list[str], folders: list[Path]) -> list[Manifest]:
    """The manifests of some services; no names: of all. ManifestError: a service does not exist."""
    manifests = find_manifests([*rooms(), *folders])
    known = {manifest.name: manifest for manifest in manifests}
    for name in names:
        if name not in known:
            raise ManifestError(f"there is no service {name}; there are: {', '.join(known)}")
    return [known[name] for name in names] if names else manifests


def end_with_input() -> None:
    """Stops this process when its standard input ends: then the parent, which holds the other side, is gone."""

    def watch() -> None:
        # Not through sys.stdin: if a thread waits in it while Python ends, Python 3.13 aborts.
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="tether", daemon=True).start()


def addresses(peers: Mapping[str, str], manifests: Sequence[Manifest]) -> dict[str, str]:
    """The addresses of peers by gRPC name. In `peers` a service has the name of its manifest, or its gRPC name."""
    grpc_names = {manifest.name: manifest.grpc for manifest in manifests}
    for name in peers:
        if name not in grpc_names and "." not in name:
            raise ManifestError(f"there is no service {name} to be a peer; there are: {', '.join(grpc_names)}")
    return {grpc_names.get(name, name): address for name, address in peers.items()}


def main(arguments: list[str] | None = None) -> int:
    """Runs until it is asked to stop."""
    parser = argparse.ArgumentParser(
        prog="city serve",
        description="Runs services of the mesh in one process.",
        epilog="What is not given here comes from the environment (CITY_…), then from city.yaml: `city config explain`.",
    )
    parser.add_argument("services", nargs="*", help="names of services; all when none is given")
    parser.add_argument(
        "--folder", action="append", default=[], type=Path, help="a folder with more services, and their stubs in `stubs`"
    )
    parser.add_argument("--without", action="append", default=[], help="leave a service out")
    parser.add_argument("--config", type=Path, help="file of the configuration; city.yaml here when none is given")
    parser.add_argument("--data", help="where events and views are kept")
    parser.add_argument("--host", help="address it listens on")
    parser.add_argument(
        "--port", help="port it listens on; 0: any free one; none given: that of its manifest, where it is one service"
    )
    parser.add_argument("--share-port", action="store_true", help="other processes may listen on the port too (SO_REUSEPORT)")
    parser.add_argument("--driven", action="store_true", help="city time is driven from outside")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="SERVICE=HOST:PORT", help="where another service answers"
    )
    parser.add_argument("--log", type=Path, help="a file for log lines and standard error, begun anew when it is full")
    parser.add_argument("--tethered", action="store_true", help="stop when standard input ends")
    options = parser.parse_args(arguments)
    os.umask(OWN_FILES)
    importable(options.folder)
    if options.tethered:
        end_with_input()
    given = {
        name: GivenValue(text, f"--{name}") for name in ("data", "host", "port") if (text := getattr(options, name)) is not None
    }
    if options.driven:
        given["time"] = GivenValue("driven", "--driven")
    if options.share_port:
        given["share_port"] = GivenValue(True, "--share-port")
    if options.peer:
        given["peers"] = GivenValue(
            {name: address for name, _, address in (peer.partition("=") for peer in options.peer)}, "--peer"
        )
    try:
        found = load(Settings, file=options.config, options=given, elsewhere=ELSEWHERE)
        settings = found.settings
        manifests = [m for m in choose(options.services, options.folder) if m.name not in options.without]
        if len(manifests) == 1 and found.origin("port") == "default":
            settings = settings.model_copy(update={"port": manifests[0].port})
        everybody = find_manifests([*rooms(), *options.folder])
        peers = addresses(settings.peers, everybody)
        load_upcasters(everybody)
    except (ManifestError, ConfigurationError, UpcastError, StoreError) as error:
        sys.stderr.write(f"city: {error}\n")
        return 2

    def ready(port: int) -> None:
        sys.stdout.write(json.dumps({"ready": f"{settings.host}:{port}"}) + "\n")
        sys.stdout.flush()

    log = None
    if options.log is not None:
        try:
            log = LogFile(options.log, settings.log.file_mb, settings.log.files_kept, takes_stderr=True)
        except OSError as error:
            do = "make room, or give its rights to this user"
            sys.stderr.write(f"city: {options.log} cannot be written: {error.strerror}: {do}\n")
            return 2
    configure(settings.log.level, pretty=settings.log.format == "pretty", file=log, version=installed_version())
    return serve(manifests, settings.model_copy(update={"peers": peers}), ready)


if __name__ == "__main__":
    sys.exit(main())
