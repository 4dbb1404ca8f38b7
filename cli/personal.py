"""`city erase`: erases a person; a receipt says what was done and what is left to do. `city keys`: the keys of persons."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from citybrain.cli import configuration
from citybrain.cli.configuration import Data, File
from citybrain.local.problems import Problem
from citybrain.observability.console import Terminal
from citybrain.observability.words import counted

if TYPE_CHECKING:
    from citybrain.event_store.keys import Rewrapped
    from citybrain.mesh.personal.erasure import Receipt
    from citybrain.mesh.settings.values import Settings
    from citybrain.mesh.storage.engine import Engine

keys = typer.Typer(name="keys", no_args_is_help=True, help="The keys of persons.")
_out = Terminal(highlight=False)


def erase(
    person: Annotated[str, typer.Argument(help="Id of the person, e.g. per-0123456789abcdef: incidents name it.")],
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="The receipt as JSON.")] = False,
    config: File = None,
) -> None:
    """Erases a person, also while the mesh runs: their data opens nowhere any more. Prints a receipt."""
    from citybrain.event_store.store import StoreError
    from citybrain.mesh.personal.erasure import UnknownPerson

    settings = configuration.load(config, data=("--data", data))
    try:
        receipt = asyncio.run(_erase(settings, person))
    except (UnknownPerson, StoreError, OSError) as error:
        raise Problem(str(error)) from None
    if as_json:
        _out.print(json.dumps(dataclasses.asdict(receipt), ensure_ascii=False, indent=2), markup=False, soft_wrap=True)
        return
    for line in told(receipt):
        _out.print(line, markup=False, soft_wrap=True)


async def opened(settings: Settings) -> Engine:
    """The engine of a city that is there; Problem where none is, and nothing is made then."""
    from citybrain.mesh.storage.engine import engine_named, open_engine

    if missing := engine_named(settings.store).missing(settings):
        raise Problem(missing)
    return await open_engine(settings, [])


async def _erase(settings: Settings, person: str) -> Receipt:
    from citybrain.cli.recording import recorded
    from citybrain.mesh.access.installation import OPERATOR
    from citybrain.mesh.personal import erasure

    engine = await opened(settings)
    try:
        async with recorded(engine, "city erase", person):
            return await erasure.erase(engine.store, engine.keys, person, actor=OPERATOR)
    finally:
        await engine.close()


@keys.callback()
def _keys() -> None:
    """Makes typer keep `rewrap` as a command, though it is the only one."""


@keys.command()
def rewrap(data: Data = None, config: File = None) -> None:
    """Wraps every key that another master key wrapped by `personal.master_key`; also while the city runs.

    The other master keys must be named in `personal.other_master_keys`. If the command is broken off, run it again: it goes on
    with the rest.
    """
    from citybrain.event_store.sealing import SealBroken
    from citybrain.event_store.store import StoreError

    settings = configuration.load(config, data=("--data", data))
    try:
        looked_at, changed = asyncio.run(_rewrap(settings))
    except (StoreError, OSError, SealBroken) as error:
        raise Problem(str(error)) from None
    _out.print(
        f"{counted(looked_at, 'key')} of persons in all, wrapped by the current master key; wrapped anew: {changed}",
        markup=False,
    )
    _out.print("earlier copies of the keys still need the master key of their time", markup=False)


async def _rewrap(settings: Settings) -> tuple[int, int]:
    from citybrain.cli.recording import recorded

    engine = await opened(settings)
    console = Console(stderr=True)
    looked_at = changed = 0
    try:
        async with recorded(engine, "city keys rewrap"):
            with console.status("", refresh_per_second=2) if console.is_terminal else contextlib.nullcontext() as shown:
                part: Rewrapped | None = None
                while part is None or part.reached:
                    part = await engine.keys.rewrap(part.reached if part else "")
                    looked_at, changed = looked_at + part.looked_at, changed + part.changed
                    if shown is not None:
                        shown.update(f"{counted(looked_at, 'key')}, {changed} wrapped anew")
    finally:
        await engine.close()
    return looked_at, changed


def told(receipt: Receipt) -> list[str]:
    """A receipt as lines for people."""
    from citybrain.mesh.personal.erasure import FORGOTTEN_WITHIN_S

    again = " (this was done before; nothing was left to do)" if receipt.again else ""
    lines = [
        f"{receipt.person} was erased at {_moment(receipt.erased_at)}{again}",
        "  the key is destroyed: what is sealed under it stays where it is, in log, views and copies, and opens nowhere",
        f"  every process that runs has forgotten it within {FORGOTTEN_WITHIN_S} s",
        f"  told to all who follow: event {receipt.event_id} in {receipt.event_stream}",
    ]
    if receipt.sent:
        lines.append("  data of this person went outside; the recipients learn of it by that event, and must remove it:")
        lines += [
            f"    {one.recipient}: {counted(one.events, 'event')}, the last at {_moment(one.last)}" for one in receipt.sent
        ]
    else:
        lines.append("  no data of this person went outside over a stream")
    if receipt.copies_of_keys:
        lines.append("  earlier copies of the keys hold the key, wrapped, until they are removed:")
        lines += [f"    made at {_moment(made)}" for made in receipt.copies_of_keys]
    if receipt.remains:
        lines.append(f"  {receipt.remains}")
    elif not receipt.copies_of_keys:
        lines.append("  no copy of the keys was made before")
    return lines


def _moment(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="seconds")
