"""The catalogue of events, for people in a terminal and for programs. Nothing has to run for it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from citybrain.gateway.catalogue import Catalogue, Event, Field
from citybrain.local.contracts import descriptors
from citybrain.local.problems import Problem
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.startup.serve import choose


def events(folders: Sequence[Path] = ()) -> list[Event]:
    """All events of the city, by name. Problem: the contract of a service in a folder is not known here."""
    return Catalogue(choose([], list(folders)), descriptors().read_bytes()).events


def one(name: str, known: Sequence[Event]) -> Event:
    """The event of a full name, or of its last part. Problem: there is none, or more than one."""
    found = [event for event in known if name in (event.type, event.type.rpartition(".")[2])]
    if len(found) == 1:
        return found[0]
    if found:
        raise Problem(f"{name} may be {' or '.join(event.type for event in found)}: give the full name")
    names = {event.type.rpartition(".")[2]: event.type for event in known}
    close = [names[near] for near in difflib.get_close_matches(name.rpartition(".")[2], names, 3)]
    hint = f"do you mean {' or '.join(close)}?" if close else "`city events list` shows all"
    raise Problem(f"there is no event {name}: {hint}")


def of_service(name: str, known: Sequence[Event]) -> list[Event]:
    """What a service publishes or hears; no name: everything. Problem: there is no such service."""
    if name and name not in {service.name for event in known for service in (event.publisher, *event.hearers)}:
        raise Problem(f"no service {name} publishes or hears events: `city events list` shows who does")
    return [event for event in known if not name or name in _names((event.publisher, *event.hearers))]


def table(listed: Sequence[Event]) -> Table:
    """For people."""
    shown = Table(box=None, padding=(0, 1, 0, 0))
    for title in ("event", "published by", "heard by", "for", "meaning"):
        shown.add_column(title, no_wrap=title in ("event", "for"), overflow="fold")
    for event in listed:
        hearers = ", ".join(_names(event.hearers)) or "–"
        shown.add_row(event.type.rpartition(".")[2], event.publisher.name, hearers, event.classification, event.meaning)
    return shown


def described(event: Event, log: Sequence[str]) -> RenderableType:
    """One event, for people. `log`: what stands in the log, in lines."""
    fields = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("field", "kind", "for", "meaning"):
        fields.add_column(title, no_wrap=title != "meaning", overflow="fold")
    for field in event.fields:
        fields.add_row(field.name, _kind(field), field.classification or event.classification, _meaning(field))
    given_up = " It is given up: read it, and write it no more." if event.deprecated else ""
    lines = (
        Text(event.type, style="bold"),
        Text(f"{event.meaning}{given_up}\n"),
        Text(f"published by  {_who(event.publisher)}"),
        Text(f"heard by      {', '.join(_names(event.hearers)) or 'no service of the city'}"),
        Text(f"for           {event.classification}"),
        Text(f"in the log    {(chr(10) + ' ' * 14).join(log)}\n"),
        fields,
        Text("\nan example, as JSON"),
        Text(json.dumps(event.example, ensure_ascii=False, indent=2)),
    )
    return Group(*lines)


def plain(event: Event) -> dict[str, Any]:
    """One event, for programs."""
    return {
        "type": event.type,
        "meaning": event.meaning,
        "classification": event.classification,
        "deprecated": event.deprecated,
        "publisher": event.publisher.name,
        "team": event.publisher.team,
        "hearers": _names(event.hearers),
        "fields": [asdict(field) for field in event.fields],
        "example": event.example,
    }


def _names(services: Iterable[Manifest]) -> list[str]:
    return [service.name for service in services]


def _who(service: Manifest) -> str:
    return f"{service.name}, {service.title}; team {service.team}"


def _kind(field: Field) -> str:
    short = field.of.rpartition(".")[2]
    return f"list of {short}" if field.many else short


def _meaning(field: Field) -> str:
    about = f"About the person in {field.person}: sealed, and shown with the scope for it only." if field.person else ""
    return " ".join(filter(None, (field.meaning, about)))
