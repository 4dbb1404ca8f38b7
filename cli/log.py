"""`city log`: checks whether the log holds what the streams hold, if an engine keeps the two apart."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Annotated

import typer

from citybrain.cli import configuration
from citybrain.cli.configuration import Data, File
from citybrain.event_store.distributed.verifying import Difference, Verdict
from citybrain.event_store.store import StoreError
from citybrain.local.problems import Problem
from citybrain.mesh.settings.engines import features_of
from citybrain.mesh.settings.values import Settings
from citybrain.observability.console import Terminal
from citybrain.observability.words import counted

app = typer.Typer(name="log", no_args_is_help=True, help="The log, where it is kept apart from the streams.")
_out = Terminal(highlight=False, markup=False, soft_wrap=True)


@app.callback()
def _log() -> None:
    """Makes typer keep `verify` as a command, though it is the only one."""


@app.command(name="verify")
def verify_log(
    repair: Annotated[bool, typer.Option("--repair", help="Publishes, in order, what the log does not hold.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    data: Data = None,
    config: File = None,
) -> None:
    """Compares every stream with the log, on Cassandra and Kafka for instance, also while the city runs. Reads the whole log.

    Ends with 1 if events are lost and not repaired. Readers drop events that are published a second time.
    """
    settings = configuration.load(config, data=("--data", data))
    if not features_of(settings.store).log_apart:
        raise Problem(f"the store is {settings.store}: its log and its streams are one, so there is nothing to compare")
    try:
        found = asyncio.run(_verified(settings, repair))
    except (StoreError, OSError) as error:
        raise Problem(str(error)) from error
    if as_json:
        _out.print(json.dumps(dataclasses.asdict(found) | {"sound": found.sound}, ensure_ascii=False, indent=2))
    else:
        unreadable = [f"{one.where}: it is no event: {one.reason}" for one in found.unreadable]
        _out.print("\n".join([*unreadable, *map(_line, found.differing), _summary(found)]))
    missing = not repair and any(one.lost for one in found.differing)
    raise typer.Exit(1 if missing or any(one.unknown for one in found.differing) else 0)


async def _verified(settings: Settings, repair: bool) -> Verdict:
    from citybrain.cli.recording import recorded
    from citybrain.mesh.storage.engine import open_engine

    engine = await open_engine(settings, [])
    try:
        async with recorded(engine, "city log verify --repair" if repair else "city log verify"):
            return await engine.verify(repair)
    finally:
        await engine.close()


def _line(one: Difference) -> str:
    said = f"{one.stream}: {counted(one.stored, 'event')}, {one.logged} of them in the log"
    if one.lost:
        return f"{said}; {one.lost} that Kafka had acknowledged are lost there"
    if one.unknown:
        return f"{said}; {one.unknown} are not on Cassandra: was it put back from an older copy?"
    return f"{said}; {one.coming} are on their way"


def _summary(found: Verdict) -> str:
    said = (
        f"{counted(found.streams, 'stream')}, {counted(found.events, 'event')} in the log, {found.twice} of them a second time"
    )
    if found.unreadable:
        said += f"; records set aside, because they are no events: {len(found.unreadable)}"
    lost = sum(one.lost for one in found.differing)
    if found.published:
        return f"{said}; {found.published} were missing there and are published"
    return f"{said}; {lost} are lost: run `city log verify --repair`" if lost else f"{said}; nothing is lost"
