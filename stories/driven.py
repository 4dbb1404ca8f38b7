"""A city of a story's own, whose time the story moves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from citybrain.events.v1.event_pb2 import Event
from google.protobuf.message import Message

from citybrain.local.city import LocalCity
from citybrain.local.problems import Problem
from citybrain.mesh.settings.values import Settings
from citybrain.simulation.errors import SimulationError
from citybrain.simulation.gateway_client import Gateway
from citybrain.simulation.record import Record

M = TypeVar("M", bound=Message)


@contextmanager
def driven_city(data: Path, seed: int, tell: Callable[[str], None]) -> Iterator[Gateway]:
    """A connection to a new city, all of it, which ends with the block. `data`: its folder, which is emptied first.

    Problem: the city refused what the story sent, or it does not answer.
    """
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    local = LocalCity(Settings(data=data, time="driven"), say=tell)
    try:
        address = local.start()
        with Record(data / "record.jsonl") as record, Gateway(address, local.token(), seed, record) as gateway:
            yield gateway
    except SimulationError as error:
        raise Problem(str(error)) from None
    finally:
        local.stop()


def unpacked(event: Event, kind: type[M]) -> M | None:
    """The event as a message of this class; None: it is another one."""
    if event.type != kind.DESCRIPTOR.full_name:
        return None
    message = kind()
    event.data.Unpack(message)
    return message
