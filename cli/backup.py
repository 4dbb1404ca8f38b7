"""`city backup` and `city restore`: copies the embedded mode while it runs, and puts it back where there is no city."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from citybrain.cli import configuration
from citybrain.cli.configuration import Data, File
from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal
from citybrain.observability.words import counted

if TYPE_CHECKING:
    from citybrain.mesh.settings.values import Settings
    from citybrain.mesh.storage.backup import Backup, Restored
    from citybrain.mesh.storage.backup import Progress as Told

_out = Terminal(highlight=False, markup=False, soft_wrap=True)
Json = Annotated[bool, typer.Option("--json", help="What was done, as JSON.")]


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder, best on another disk.")],
    keys: Annotated[
        Path | None, typer.Option(help="A new file for the keys of persons (wrapped), to be kept apart from the folder.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
    config: File = None,
) -> None:
    """Copies events, views and readings into a folder, also while the city runs. Keys of persons go to a separate file."""
    settings = configuration.load(config, data=("--data", data))
    with _told() as progress:
        made = asyncio.run(_back_up(settings, folder, keys, progress))
    if as_json:
        _out.print(json.dumps(dataclasses.asdict(made), ensure_ascii=False, indent=2))
        return
    _out.print(
        f"{folder} holds {counted(made.events, 'event')}, to position {made.head}, and {counted(len(made.files), 'file')}"
    )
    if keys is None:
        _out.print("keys of persons are not in it: give --keys FILE to copy them too")
    else:
        _out.print(f"keys of persons are in {keys}; the master key and the list of who was erased are not: keep both elsewhere")


def restore(
    folder: Annotated[Path, typer.Argument(help="What `city backup` made.")],
    keys: Annotated[Path | None, typer.Option(help="The copy of the keys of persons, where they were lost too.")] = None,
    erased: Annotated[
        Path | None, typer.Option(help="A list of who was erased (erased.jsonl), besides that in the folder of keys.")
    ] = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Also where what is personal will never open again.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
    config: File = None,
) -> None:
    """Puts a backup where there is no city. Checks it first, and erases again the persons erased since. Overwrites nothing."""
    settings = configuration.load(config, data=("--data", data))
    with _told() as progress:
        done = asyncio.run(_restore(settings, folder, keys, erased, progress, without_keys))
    if as_json:
        _out.print(json.dumps(dataclasses.asdict(done), ensure_ascii=False, indent=2))
        return
    _out.print(
        f"{settings.data} holds {counted(done.events, 'event')}, to position {done.head}: city up --data {settings.data}"
    )
    _out.print(f"{counted(done.erased, 'erased person')}; the copy of the keys had brought back {done.erased_again} of them")
    if done.without_keys:
        _out.print(f"what is kept about {counted(done.without_keys, 'person')} never opens again")


async def _back_up(settings: Settings, folder: Path, keys: Path | None, progress: Told) -> Backup:
    from citybrain.cli.personal import opened
    from citybrain.cli.recording import recorded
    from citybrain.mesh.storage import backup as copies

    copies.require_files(settings)
    engine = await opened(settings)
    try:
        # Before, so that the copy has it too.
        async with recorded(engine, "city backup"):
            return await copies.back_up(settings, folder, keys, progress)
    finally:
        await engine.close()


async def _restore(
    settings: Settings, folder: Path, keys: Path | None, erased: Path | None, progress: Told, without_keys: bool
) -> Restored:
    from citybrain.cli.personal import opened
    from citybrain.cli.recording import recorded
    from citybrain.mesh.storage import backup as copies

    done = await copies.restore(settings, folder, keys, erased, progress, without_keys=without_keys)
    # After, since there was no city before.
    engine = await opened(settings)
    try:
        async with recorded(engine, "city restore"):
            return done
    finally:
        await engine.close()


@contextmanager
def _told() -> Iterator[Told]:
    """Shows progress on standard error; turns errors that people can mend into a Problem."""
    from citybrain.event_store.store import StoreError
    from citybrain.mesh.storage.backup import BackupError

    try:
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:
            tasks = {}

            def progress(what: str, done: int, of: int) -> None:
                if what not in tasks:
                    tasks[what] = shown.add_task(what, total=of)
                shown.update(tasks[what], completed=done, total=of)

            yield progress
    except (BackupError, StoreError, OSError) as error:
        raise Problem(str(error)) from None
