"""The jars of an engine. A lock file of the project names each with its SHA-256; each is downloaded once."""

from __future__ import annotations

import hashlib
import os
import shutil
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from citybrain.local.errors import EngineError, NotFetched

CACHE_VARIABLE = "CITY_ENGINES_CACHE"
_AT_ONCE = 8
_TELL_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class Jar:
    """One jar by its Maven coordinate."""

    group: str
    artifact: str
    version: str
    classifier: str
    sha256: str

    @property
    def path(self) -> Path:
        """Its path below a cache, as in Maven's own."""
        name = "-".join(part for part in (self.artifact, self.version, self.classifier) if part)
        return Path(*self.group.split("."), self.artifact, self.version, f"{name}.jar")


def cache() -> Path:
    """The folder of jars: CITY_ENGINES_CACHE, or one in the user's cache folder, which all checkouts share."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get(CACHE_VARIABLE) or Path(base) / "city-engines")


def class_path(name: str, say: Callable[[str], None], locks: Path | None = None) -> str:
    """The class path of a program. Missing jars are downloaded first; a jar that is not as in the lock is never used.

    `locks`: the folder of its lock, NAME.lock.toml; None: this one.
    """
    lock = tomllib.loads(((locks or Path(__file__).parent) / f"{name}.lock.toml").read_text(encoding="utf-8"))
    jars = [
        Jar(one["groupId"], one["artifactId"], one["version"], one.get("classifier", ""), one["sha256"])
        for one in lock["dependencies"]
    ]
    folder = cache()
    missing = [jar for jar in jars if not _is_right(folder / jar.path, jar)]
    if missing:
        size = f", {lock['bytes'] / 1e6:.0f} MB in all" if len(missing) == len(jars) else ""
        say(f"{name}: downloads {len(missing)} of {len(jars)} jars{size}, into {folder}; once")
        _fetch(name, missing, folder, say)
    return os.pathsep.join(str(folder / jar.path) for jar in jars)


def _is_right(path: Path, jar: Jar) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256


def _fetch(name: str, jars: list[Jar], folder: Path, say: Callable[[str], None]) -> None:
    # Imported only now: not needed if all jars are here, or if the engines run elsewhere.
    from jgo.maven import MavenContext, PythonResolver

    counted = Lock()
    done = told = 0

    @contextmanager
    def progress(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        def count(received: int) -> None:
            nonlocal done, told
            with counted:
                done += received
                if done - told >= _TELL_BYTES:
                    told = done
                    say(f"{name}: {done / 1e6:.0f} MB")

        yield count

    # A folder of this process: half a download is never taken for a jar, and several processes may download at once.
    draft = folder / f"draft-{name}-{os.getpid()}"
    maven = MavenContext(repo_cache=draft, resolver=PythonResolver(progress_callback=progress))

    def fetch(jar: Jar) -> None:
        project = maven.project(jar.group, jar.artifact).at_version(jar.version)
        try:
            found = project.artifact(classifier=jar.classifier, packaging="jar").resolve()
        except Exception as error:
            what = f"{name}: {jar.path.name} could not be downloaded ({error})"
            raise NotFetched(f"{what}: is there a network? then try again, what is there is kept") from error
        if not _is_right(found, jar):
            found.unlink()
            raise EngineError(f"{name}: {jar.path.name} is not the jar that {name}.lock.toml names: it was not kept")
        target = folder / jar.path
        target.parent.mkdir(parents=True, exist_ok=True)
        found.replace(target)

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(fetch, jars))
    finally:
        shutil.rmtree(draft, ignore_errors=True)
