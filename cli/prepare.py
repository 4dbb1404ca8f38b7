"""`city prepare`: what the engine needs is made once, under a name that may make it; then services need no such right."""

from __future__ import annotations

import asyncio

from citybrain.cli import configuration
from citybrain.cli.configuration import Data, File
from citybrain.event_store.store import StoreError
from citybrain.local.problems import Problem
from citybrain.mesh.settings.values import Settings
from citybrain.observability.console import Terminal

_out = Terminal(highlight=False, markup=False, soft_wrap=True)


def prepare(data: Data = None, config: File = None) -> None:
    """Makes the keyspaces, tables and topics of events that are missing, or brings them up to date, and ends.

    Services do the same when they start; after this they find nothing to do. It may be run again, also while the city runs.
    """
    settings = configuration.load(config, data=("--data", data))
    try:
        asyncio.run(_prepared(settings))
    except (StoreError, OSError) as error:
        raise Problem(str(error)) from error
    _out.print(f"The engine {settings.store} has what this release needs.")


async def _prepared(settings: Settings) -> None:
    from citybrain.mesh.manifest import find_manifests
    from citybrain.mesh.startup.serve import rooms
    from citybrain.mesh.storage.engine import open_engine

    settings.data.mkdir(parents=True, exist_ok=True)
    engine = await open_engine(settings, find_manifests(rooms()))
    await engine.close()
