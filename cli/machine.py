"""The checks of `city doctor` on this machine: each is one function, and says what to do."""

from __future__ import annotations

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement

from citybrain.event_store.sqlite.database import is_refused, refused
from citybrain.event_store.sqlite.file import newest_moment
from citybrain.event_store.store import StoreError
from citybrain.local.city import MIN_FREE_BYTES
from citybrain.local.errors import EngineError
from citybrain.local.java import RECENT, find
from citybrain.mesh.subscriptions.tokens import Tokens

_OLDEST_PYTHON = (3, 11)
_ENVOY_S = 30.0
_FSYNCS = 11
# A slower disk makes commands slow.
_SLOW_FSYNC_MS = 50.0
# Files that are open besides callers' connections: the store, logs, connections to services.
_OTHER_FILES = 256
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `note`: worth knowing, but nothing is wrong. `do`: what to do next."""

    what: str
    state: Literal["well", "note", "wrong"]
    said: str
    do: str = ""


def well(what: str, said: str) -> Finding:
    """A finding that all is well."""
    return Finding(what, "well", said)


def wrong(what: str, said: str, do: str) -> Finding:
    """A finding that something is wrong."""
    return Finding(what, "wrong", said, do)


# -- what is installed ----------------------------------------------------------------------------------------------------


def python(running: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """Whether this Python is new enough."""
    said = ".".join(map(str, running))
    if running < _OLDEST_PYTHON:
        return wrong("Python", f"{said} is too old", "install Python 3.11 or newer, then: make setup PYTHON=python3.11")
    return well("Python", said)


def packages(lock: Path) -> Finding:
    """Whether the installed packages are those of the lock file."""
    what = "packages"
    if not lock.is_file():
        return well(what, "installed without a lock beside it")
    differing, count = [], 0
    for line in re.findall(r"^[A-Za-z0-9][^\s\\#]*==[^\\#\n]+", lock.read_text(encoding="utf-8"), re.M):
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            return wrong(what, f"{lock.name} cannot be read: {line.strip()}", "make lock")
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        count += 1
        try:
            installed = version(wanted.name)
        except PackageNotFoundError:
            installed = "missing"
        if not wanted.specifier.contains(installed, prereleases=True):
            differing.append(f"{wanted.name} is {installed}, locked is {str(wanted.specifier).removeprefix('==')}")
    if differing:
        more = f", and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
        return wrong(what, "; ".join(differing[:_NAMED]) + more, "remove .venv, then: make setup")
    return well(what, f"{count}, as locked")


def contracts(root: Path) -> Finding:
    """Whether the stubs are built from the present contracts."""
    what, built = "contracts", root / "build" / "descriptors.binpb"
    if (root / "contracts" / built.name).is_file():
        return well(what, "are those of the package")
    if not built.is_file():
        return wrong(what, "are not built", "make stubs")
    newer = [path for path in (root / "protos").rglob("*.proto") if path.stat().st_mtime > built.stat().st_mtime]
    if newer:
        return wrong(what, f"{newer[0].relative_to(root)} was changed after the stubs were built", "make stubs")
    return well(what, "are built")


def envoy_runs(program: Path) -> Finding:
    """Whether Envoy runs on this machine."""
    what = "Envoy"
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_ENVOY_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return wrong(what, f"does not run: {error}", "remove .venv, then: make setup")
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return wrong(what, f"ends with code {done.returncode}: {said}", "remove .venv, then: make setup")
    found = re.search(r"/(\d+\.\d+\.\d+)/", done.stdout)
    return well(what, found[1] if found else "runs")


def java() -> Finding:
    """The Java that engines on this machine would use."""
    what = "Java"
    try:
        found = find()
    except EngineError as error:
        return Finding(what, "note", str(error), "only `city up --engines` and `city engines` need it")
    said = f"{found.told} ({found.origin})"
    if found.version < RECENT:
        do = f"install a newer Java {found.version[0]}, e.g. openjdk-{found.version[0]}-jre-headless: it is found by itself"
        return Finding(what, "note", f"{said} is old", do)
    return well(what, said)


# -- disk and limits ------------------------------------------------------------------------------------------------------


def space(data: Path, least: int = MIN_FREE_BYTES) -> Finding:
    """Whether there is room for events."""
    free = shutil.disk_usage(_existing(data)).free
    said = f"{free >> 20} MB are free where {data} is"
    if free < least:
        return wrong("disk space", said, f"make room ({least >> 20} MB at least), or give another --data")
    return well("disk space", said)


def can_write(data: Path) -> Finding:
    """Whether the data folder can be written."""
    what, folder = "data folder", _existing(data)
    if not folder.is_dir():
        return wrong(what, f"{folder} is no folder", "give another --data")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        return _refused(what, folder, error)
    return well(what, f"{data} can be written" if data.is_dir() else f"{data} can be made")


def _refused(what: str, path: Path, error: OSError) -> Finding:
    """A finding for an error of the system, with what helps (a full disk needs other help than missing rights)."""
    said, _, do = str(refused(path, error)).rpartition(": ")
    return wrong(what, said, do)


def disk_sync(data: Path) -> Finding:
    """How long fsync takes on this disk: each command to a service waits for one."""
    what, took = "fsync", []
    try:
        with tempfile.TemporaryFile(dir=_existing(data)) as file:
            for _ in range(_FSYNCS):
                file.write(b"x" * 4096)
                file.flush()
                begun = time.perf_counter()
                os.fsync(file.fileno())
                took.append((time.perf_counter() - begun) * 1000)
    except OSError as error:
        return _refused(what, _existing(data), error)
    median = statistics.median(took)
    said = f"{median:.2f} ms, median of {_FSYNCS}"
    if median > _SLOW_FSYNC_MS:
        return Finding(what, "note", said, "every command waits for one: a faster disk for --data makes the city faster")
    return well(what, said)


def open_files(limit: int, connections: int) -> Finding:
    """Whether enough files may be open for the gateway's connections."""
    what, needed = "open files", connections + _OTHER_FILES
    if limit < needed:
        do = f"ulimit -n {needed}, or fewer gateway.max_connections"
        return wrong(what, f"{limit} may be open, and the gateway may take {connections} connections", do)
    return well(what, f"{limit} may be open")


def clock(data: Path, now: int) -> Finding:
    """Whether the wall clock is behind the newest event in the log. `now`: in microseconds since 1970."""
    what = "clock"
    try:
        newest = newest_moment(data / "events.db")
    except StoreError as error:
        said, _, do = str(error).rpartition(": ")
        return wrong(what, f"the log cannot be read: {said}", do)
    behind = (newest - now) / 1e6
    if behind > 1:
        said = f"is {behind:.0f} s behind the newest event in the log"
        return wrong(what, said, "set the clock of this machine (timedatectl set-ntp true)")
    return well(what, "is not behind the log")


def token_key(path: Path | None) -> Finding:
    """Whether there is a key for resume and page tokens in the configured file."""
    what = "key of tokens"
    if path is None:
        return well(what, "one is made in the data folder")
    try:
        Tokens.from_file(path)
    except OSError as error:
        if is_refused(error):
            return _refused(what, path, error)
        said, _, do = str(error).partition(": ")
        return wrong(what, said, do or "give its rights to this user")
    return well(what, f"{path} is one")


# -- ports and locks ------------------------------------------------------------------------------------------------------


def port(what: str, host: str, number: int) -> Finding:
    """Whether a port is free, or which process has it."""
    try:
        family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as tried:
            # As servers do: a connection that has just ended does not matter.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, number))
    except PermissionError:
        return wrong(what, f"{number} is only for root", "choose a port from 1024 on")
    except OSError as error:
        owner = listener(number)
        who = f"taken by {described(owner)}" if owner else f"not available: {error.strerror or error}"
        return wrong(what, f"{number} on {host} is {who}", "stop that, or choose another port")
    return well(what, f"{number} on {host} is free")


def listener(number: int) -> int:
    """The id of the process that listens on a port, as far as this user may see; 0: none."""
    listening = "0A"
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text(encoding="ascii").splitlines()[1:] if table.is_file() else ():
            fields = line.split()
            if fields[3] == listening and int(fields[1].rpartition(":")[2], 16) == number:
                inodes.add(f"socket:[{fields[9]}]")
    return next((pid for pid, file in _open_files() if file in inodes), 0)


def lock_holder(path: Path) -> int:
    """The id of the process that holds a lock on a file, as far as this user may see; 0: none."""
    if not path.is_file():
        return 0
    inode = str(path.stat().st_ino)
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        fields = line.split()
        if "FLOCK" in fields and "->" not in fields and fields[5].rpartition(":")[2] == inode:
            return int(fields[4])
    return 0


def described(pid: int) -> str:
    """A process for people: its id and its command."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        words = ""
    return f"process {pid} ({words[:80]})" if words else f"process {pid}"


def _open_files() -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            for file in (folder / "fd").iterdir():
                yield int(folder.name), str(file.readlink())
        except OSError:
            # The process ended just now, or belongs to another user.
            continue


def _existing(path: Path) -> Path:
    """The path itself, or the nearest above it that exists."""
    return next(one for one in (path, *path.absolute().parents) if one.exists())
