"""The whole configuration of a city, and `city config`, which explains it."""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typing_extensions import override

from citybrain.gateway.settings import Gateway
from citybrain.mesh.settings import configuration
from citybrain.mesh.settings.configuration import Configuration, GivenValue, keys
from citybrain.mesh.settings.values import Settings, value
from citybrain.observability.console import Terminal

File = Annotated[
    Path | None, typer.Option("--config", help="File of the configuration; CITY_CONFIG, or city.yaml here, when none is given.")
]

Data = Annotated[Path | None, typer.Option(help="Where events, views and traces are kept.", show_default="data")]

app = typer.Typer(name="config", no_args_is_help=True, help="Says what is configured here, and where each value came from.")
_out = Terminal(highlight=False, markup=False)


class City(Settings):
    """All values that can be set: those of the mesh, and the sections of rooms above it."""

    gateway: Gateway = Gateway()
    remote: str = value(
        "",
        "The gateway that `city call` asks: host:port. Empty: the one that is configured here.",
        also="CITY_GATEWAY",
    )

    @override
    def refusals(self) -> Iterator[tuple[str, str]]:
        yield from super().refusals()
        yield from self.gateway.refusals(self)

    @property
    def asked(self) -> str:
        """The gateway that commands ask."""
        return self.remote or f"{self.gateway.host}:{self.gateway.port}"


def load(file: Path | None, **options: tuple[str, object]) -> City:
    """The city as configured here. `options`: key (`__` for a dot) = (name of the option, its value or None: not given)."""
    return configuration.load(City, file=file, options=_given(options)).settings


def _given(options: Mapping[str, tuple[str, object]]) -> dict[str, GivenValue | None]:
    return {key.replace("__", "."): GivenValue(given, name) for key, (name, given) in options.items() if given is not None}


@app.command()
def explain(
    file: File = None, as_json: Annotated[bool, typer.Option("--json", help="One object a value, as JSON.")] = False
) -> None:
    """Shows every value, where it came from (default, file:line, variable) and what it is for; then what production refuses.

    Written in city.yaml with its section: `gateway.port` is `port` below `gateway:`.
    """
    found = configuration.read(City, file=file)
    if as_json:
        _out.print(json.dumps(list(_values(found)), ensure_ascii=False, indent=2), soft_wrap=True)
    else:
        for one in _values(found):
            given = one["value"]
            shown = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
            _out.print(f"{one['key']} = {shown if given not in (None, '') else '–'}  ({one['origin']})", soft_wrap=True)
            _out.print(f"    {one['description']}", style="dim", soft_wrap=True)
    found.refuse()


@app.command()
def schema() -> None:
    """Prints the JSON schema of city.yaml: editors complete and check the file with it."""
    _out.print(json.dumps(City.model_json_schema(), ensure_ascii=False, indent=2), soft_wrap=True)


def _values(found: Configuration[City]) -> Iterator[dict[str, Any]]:
    dumped = found.settings.model_dump(mode="json")
    for key in keys(City):
        yield {
            "key": key.name,
            "value": functools.reduce(operator.getitem, key.name.split("."), dumped),
            "origin": found.origin(key.name),
            "variables": key.variables,
            "description": key.description,
        }
