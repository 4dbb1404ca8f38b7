"""Backup and restore of an engine that keeps everything in files of the data folder. A backup is made while the city runs.

A backup is a folder. Read models are copied first and the log last, so that no read model is ahead of the log. A list of the
files comes at the end; a folder without it is no backup. The keys of persons go to a separate file, after the log, so that they
open all of it. The master key and the list of erased persons are in neither. A restore checks everything, erases again the
persons who were erased since, and only then puts the files where a city finds them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from citybrain.personal.v1 import personal_pb2

from citybrain.event_store.keys import KeysMissing, KeyStore
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.sqlite.backup import check_events, check_views, copy_database, settle, sync
from citybrain.event_store.sqlite.keys import read_ledger
from citybrain.mesh.personal.erasure import erase
from citybrain.mesh.personal.vault import keys_folder
from citybrain.mesh.settings.engines import features_of
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.settings.version import installed_version
from citybrain.mesh.storage.embedded import EVENTS, key_file
from citybrain.mesh.storage.engine import engine_named
from citybrain.observability.words import counted

LIST = "backup.json"
_FORMAT = 1
_TOKENS = "token.key"
# While this folder is in a data folder, the data are not whole.
RESTORING = ".restoring"
_PAGE = 1000

Progress = Callable[[str, int, int], None]
"""Called with the name of the work, how much of it is done, and how much there is."""


class BackupError(Exception):
    """A backup cannot be made, or cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What is in a backup. `made_at`: microseconds since 1970; `head`: position of the last event; `files`: name to SHA-256."""

    made_at: int
    version: str
    head: int
    events: int
    files: dict[str, str]
    erased: dict[str, int]
    """The persons who had been erased by then, and when."""
    format: int = _FORMAT


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did. `erased_again`: persons whose keys the copy still had; `without_keys`: those without any key."""

    head: int
    events: int
    made_at: int
    erased: int
    erased_again: int
    without_keys: int


async def back_up(settings: Settings, target: Path, keys: Path | None, progress: Progress) -> Backup:
    """Copies a city into a new folder, and its keys of persons into a new file, if one is given.

    BackupError, StoreError, OSError: it cannot be done. Then the folder has no list, and is no backup.
    """
    require_files(settings)
    data = settings.data
    if missing := engine_named(settings.store).missing(settings):
        raise BackupError(missing)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackupError(f"{target} is there already, and a backup overwrites nothing: give a new folder")
    if target.resolve().is_relative_to(data.resolve()):
        raise BackupError(
            f"{target} is inside {data}, and would be lost with it: give a folder elsewhere, best on another disk"
        )
    if keys is not None and keys.exists():
        raise BackupError(f"{keys} is there already, and a backup overwrites nothing: give a new file")
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    # No file may be ahead of its source: read models first, then readings, then the log.
    names = [*sorted(path.name for path in data.glob("*.views.db")), "readings.db", EVENTS]
    for name in names:
        if (data / name).is_file():
            copy_database(data / name, target / name, lambda done, of, name=name: progress(name, done, of))  # type: ignore[misc]
    if (data / _TOKENS).is_file():
        shutil.copy2(data / _TOKENS, target / _TOKENS)
        sync(target / _TOKENS)
    erased = await _copy_keys(settings, keys)
    head, events = check_events(target / EVENTS)
    files = {path.name: _digest(path) for path in sorted(target.iterdir())}
    backup = Backup(time.time_ns() // 1000, installed_version(), head, events, files, erased)
    draft = target / f".{LIST}"
    draft.write_text(json.dumps(asdict(backup), indent=2) + "\n", encoding="utf-8")
    sync(draft)
    draft.rename(target / LIST)
    sync(target)
    return backup


async def restore(
    settings: Settings, source: Path, keys: Path | None, erased: Path | None, progress: Progress, *, without_keys: bool = False
) -> Restored:
    """Puts a backup in the place of a city that is gone. `erased`: a file with more erased persons, as erased.jsonl.

    BackupError, StoreError, OSError: it cannot be done. If it was begun, no city starts there until a restore has succeeded.
    """
    require_files(settings)
    backup = read_list(source)
    data, place = settings.data, keys_folder(settings)
    _is_free(data, place, keys)
    for number, (name, digest) in enumerate(backup.files.items()):
        progress("checking", number, len(backup.files))
        if not (source / name).is_file() or _digest(source / name) != digest:
            raise BackupError(f"{name} in {source} is not what was backed up: take another backup")
    draft = data / RESTORING
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    sync(data)
    for number, name in enumerate(backup.files):
        progress("copying", number, len(backup.files))
        shutil.copy2(source / name, draft / name)
        sync(draft / name)
    head, events = check_events(draft / EVENTS)
    if (head, events) != (backup.head, backup.events):
        raise BackupError(f"the log in {source} ends at {head}, and its list says {backup.head}: take another backup")
    for path in sorted(draft.glob("*.views.db")):
        check_views(path, head)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    if keys is not None:
        for left in place.glob("keys.db*"):
            left.unlink()
        shutil.copyfile(keys, place / "keys.db")
        (place / "keys.db").chmod(0o600)
        sync(place / "keys.db")
    again, missing = await _erase_anew(settings, backup, draft / EVENTS, erased, progress, without_keys=without_keys)
    for name in backup.files:
        (draft / name).replace(data / name)
    sync(data)
    shutil.rmtree(draft)
    sync(data)
    return Restored(head, events, backup.made_at, len(again), sum(again.values()), missing)


def read_list(source: Path) -> Backup:
    """The list of a backup. BackupError: it is no backup, or this release cannot read it."""
    try:
        content = json.loads((source / LIST).read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise BackupError(
                f"{source} was made by release {content['version']} in a way that this one cannot read: use that one"
            )
        return Backup(**content)
    except FileNotFoundError:
        raise BackupError(f"{source} is no backup, or one that was broken off: there is no {LIST} in it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{source / LIST} cannot be read ({error}): take another backup") from error


def require_files(settings: Settings) -> None:
    """BackupError: the engine keeps no files that could be copied."""
    if not features_of(settings.store).files:
        raise BackupError(
            f"the engine {settings.store} does not keep a city in files of the data folder, and only such files are backed up "
            "here: use the tools of its own servers"
        )


def _is_free(data: Path, place: Path, keys: Path | None) -> None:
    if data.exists() and not data.is_dir():
        raise BackupError(f"{data} is no folder: give another --data")
    begun = (data / RESTORING).exists()
    if data.exists() and not begun:
        # The keys, and the list of erased persons, may be there: they outlive the data.
        others = [path.name for path in data.iterdir() if path.resolve() != place.resolve()]
        if others:
            raise BackupError(
                f"{data} is not empty ({others[0]}), and a restore overwrites nothing: move it away, or give another --data"
            )
    if keys is not None and not keys.is_file():
        raise BackupError(f"there are no keys at {keys}")
    if keys is not None and (place / "keys.db").exists() and not begun:
        raise BackupError(
            f"there are keys in {place} already, and a restore overwrites nothing: leave out --keys, or move them away"
        )


async def _copy_keys(settings: Settings, target: Path | None) -> dict[str, int]:
    if not (keys_folder(settings) / "keys.db").is_file():
        return {}
    keys = key_file(settings)
    try:
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            await keys.copy_to(target)
            sync(target)
        return {erasure.person: erasure.at for erasure in await keys.erased(0)}
    finally:
        keys.close()


async def _erase_anew(
    settings: Settings, backup: Backup, events: Path, erased: Path | None, progress: Progress, *, without_keys: bool
) -> tuple[dict[str, bool], int]:
    """Erases every person on one of the lists again, in keys and log. Then counts persons whose sealed data no key opens.

    Returns the erased persons, each with whether the copy had brought their key back, and this count.
    """
    place = keys_folder(settings)
    gone = dict(backup.erased) | dict(read_ledger(place / "erased.jsonl"))
    if erased is not None:
        if not erased.is_file():
            raise BackupError(f"there is no list of who was erased at {erased}")
        gone |= dict(read_ledger(erased))
    store = SqliteEventStore(events)
    keys = key_file(settings)
    try:
        again: dict[str, bool] = {}
        for number, (person, at) in enumerate(sorted(gone.items())):
            progress("erasing", number, len(gone))
            again[person] = await keys.knows(person)
            await keys.destroy(person, at)
            await erase(store, keys, person, actor="city-restore")
        missing = await _without_keys(store, keys, progress)
        if missing and not without_keys:
            raise BackupError(
                f"the keys in {place} do not open what is kept about {counted(missing, 'person')}: give their copy (--keys), "
                "or, if that is lost, --without-keys: then their data never opens again, and events about them stand aside"
            )
        return again, missing
    finally:
        keys.close()
        store.close()
        settle(events)


async def _without_keys(store: SqliteEventStore, keys: KeyStore, progress: Progress) -> int:
    """How many persons have sealed data, but neither a key nor an erasure."""
    persons: set[str] = set()
    position, head = 0, store.head()
    while position < head:
        page = await store.read_log(position, _PAGE)
        for event in page.events:
            if event.sealed:
                persons.update(part.person_id for part in personal_pb2.Sealed.FromString(event.sealed).parts)
        position = page.reached
        progress("looking at keys", position, head)
    missing = 0
    for person in persons:
        try:
            await keys.find([person])
        except KeysMissing:
            missing += 1
    return missing


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
