"""`city events`: which events there are; how far consumer groups are behind; parked ones are listed, tried again, given up."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Annotated

import typer

from citybrain.cli import configuration
from citybrain.cli.configuration import Data, File
from citybrain.observability.console import Terminal

app = typer.Typer(
    name="events",
    no_args_is_help=True,
    help="Which events there are; how far consumer groups are behind, and what they have set aside.",
)
_out = Terminal(highlight=False, markup=False)
_err = Terminal(stderr=True, highlight=False, markup=False, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Group = Annotated[str, typer.Argument(metavar="GROUP", help="A consumer group, e.g. health.view.ambulances.")]


@app.command("list")
def list_all(
    of: Annotated[str, typer.Option(metavar="SERVICE", help="Only those that it publishes or hears.")] = "",
    as_json: Json = False,
) -> None:
    """Lists every event of the city: what it means, who publishes it, who hears it, who may see it. Nothing has to run."""
    from citybrain.cli import catalogue

    found = catalogue.of_service(of, catalogue.events())
    if as_json:
        _out.print(json.dumps(list(map(catalogue.plain, found)), ensure_ascii=False, indent=2), soft_wrap=True)
    else:
        _out.print(catalogue.table(found))


@app.command()
def describe(
    event: Annotated[str, typer.Argument(metavar="TYPE", help="Its name, e.g. IncidentOpened, or its full name.")],
    as_json: Json = False,
    gateway: Annotated[str | None, typer.Option(help="The gateway of the city: host:port.", show_default="configured")] = None,
    data: Data = None,
    config: File = None,
) -> None:
    """Describes one type of events: its fields, who may see them, who publishes and hears it, and an example.

    If a city answers, also what stands in its log: how many, since when, how late they come, and what is odd about them.
    """
    from citybrain.cli import catalogue
    from citybrain.cli.in_the_log import in_the_log, lines, plain

    found = catalogue.one(event, catalogue.events())
    log = in_the_log(found.type, configuration.load(config, remote=("--gateway", gateway), data=("--data", data)))
    if as_json:
        _out.print(json.dumps(catalogue.plain(found) | plain(log), ensure_ascii=False, indent=2), soft_wrap=True)
    else:
        _out.print(catalogue.described(found, list(lines(log))))


@app.command()
def lag(data: Data = None, as_json: Json = False, config: File = None) -> None:
    """Lists every consumer group: where it is in the log, how far behind, what is parked, what fails, what is stalled.

    If several processes share a group's partitions, each has a line. Ends with 1 if a group fails, is stalled or has parked
    events, or if a process does not answer.
    """
    from citybrain.cli import groups

    rows, silent = groups.groups(_settings(config, data))
    if as_json:
        plain = [{"pid": pid, **groups.plain(group)} for pid, group in rows]
        _out.print(json.dumps(plain, ensure_ascii=False, indent=2), soft_wrap=True)
    else:
        _out.print(groups.table(rows))
        for line in groups.troubles(rows):
            _out.print(line, soft_wrap=True)
    _tell(silent)
    raise typer.Exit(0 if all(groups.is_well(group) for _, group in rows) and not silent else 1)


@app.command()
def parked(
    group: Annotated[str, typer.Argument(help="One consumer group; all when none is named.")] = "",
    data: Data = None,
    as_json: Json = False,
    config: File = None,
) -> None:
    """Lists events that could not be handled, and those of the same stream that wait behind them, with the reason.

    The content of an event is not shown: `city trace` and the log of the service tell more. Ends with 1 if a process does not
    answer.
    """
    from citybrain.cli import groups

    found, silent = groups.parked(_settings(config, data), group)
    if as_json:
        _out.print(json.dumps(list(map(groups.plain, found)), ensure_ascii=False, indent=2), soft_wrap=True)
    else:
        _out.print("\n".join(map(groups.lines, found)) or "nothing is parked", soft_wrap=True)
    _tell(silent)
    raise typer.Exit(1 if silent else 0)


@app.command()
def replay(
    group: Group,
    stream: Annotated[str, typer.Argument(help="The stream whose parked events are to be tried again.")],
    data: Data = None,
    config: File = None,
) -> None:
    """Lets the parked events of a stream be tried again, in order, before later ones of the stream. Mend the cause first."""
    from citybrain.cli import groups

    asked = groups.replay(_settings(config, data), group, stream)
    _out.print(f"{asked} of {stream} will be tried again: `city events parked {group}` shows what stays", soft_wrap=True)


@app.command()
def drop(
    group: Group,
    position: Annotated[int, typer.Argument(min=1, help="Where it stands, as `city events parked` shows.")],
    reason: Annotated[str, typer.Option(help="Why it may be given up; kept for ever.")],
    partition: Annotated[str, typer.Option(help="The log's partition, where it has several.")] = "",
    data: Data = None,
    config: File = None,
) -> None:
    """Gives a parked event up for ever. Those of its stream behind it are tried again."""
    from citybrain.cli import groups

    who = getpass.getuser()
    groups.drop(_settings(config, data), group, partition, position, reason, who)
    _out.print(f"given up in the name of {who}; those behind it are tried again", soft_wrap=True)


def _tell(silent: list[str]) -> None:
    """Writes the processes that did not answer to standard error."""
    for one in silent:
        _err.print(f"city: {one}")


def _settings(config: Path | None, data: Path | None) -> configuration.City:
    return configuration.load(config, data=("--data", data))
