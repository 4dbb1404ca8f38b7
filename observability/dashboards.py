"""One dashboard of Grafana for a service: its promises, its calls, its events, its consumer groups, what it writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from citybrain.observability import names
from citybrain.observability.grafana_form import Json, Panel, dashboard, line, named, per_second, quantile, quantiles
from citybrain.observability.numbers import BY_NAME, label
from citybrain.observability.objectives import RATIO

_METHOD, _CODE, _WHY, _GROUP = (
    label(one) for one in (names.RPC_METHOD, names.STATUS_CODE, names.ERROR_TYPE, names.CONSUMER_GROUP)
)


@dataclass(frozen=True, slots=True)
class Told:
    """What a dashboard has to know of a service.

    `publishes`: it writes events; `hears`: it has methods that hear events; `follows`: it has consumer groups, for these
    methods or for its read models; `asks_people`: tasks of it wait for people; `promises`: it states objectives; `calls`: it
    calls other services.
    """

    name: str
    title: str
    team: str
    publishes: bool = False
    hears: bool = False
    follows: bool = False
    asks_people: bool = False
    promises: bool = False
    calls: bool = False


def of_service(service: Told) -> Json:
    """The dashboard, as Grafana imports it."""
    about = f"The service {service.name} of team {service.team}."
    return dashboard(f"city-{service.name.replace('_', '-')}", service.title, about, ("city", service.team), _panels(service))


def _panels(service: Told) -> Iterator[Panel]:
    mine = f'{label(names.CITY_SERVICE)}="{service.name}"'
    if service.promises:
        yield Panel(
            "Promises: what part was bad in an hour", "By objective. Its manifest says how much may be.", "percentunit",
            [(f"{RATIO}1h{{{mine}}}", line("objective"))],
        )  # fmt: skip
    yield from _of_calls(mine)
    if service.calls:
        client = BY_NAME[names.CLIENT_DURATION].family
        yield Panel(
            "Calls to others that failed", "By method and status.", "reqps",
            [(per_second(f'{client}_count{{{mine},{_CODE}!="OK"}}', f"{_METHOD}, {_CODE}"), line(_METHOD, _CODE))],
        )  # fmt: skip
        yield Panel(
            "How long calls to others take", "99 of a hundred take no longer, tries included.", "s",
            [(quantile(0.99, f"{client}_bucket{{{mine}}}", _METHOD), line(_METHOD))], leads=True,
        )  # fmt: skip
    if service.publishes:
        yield from _of_writing(mine)
    if service.hears:
        yield from _of_handling(mine)
    if service.follows:
        yield from _of_groups(mine)
    if service.asks_people:
        yield from _of_tasks(mine)


def _of_calls(mine: str) -> Iterator[Panel]:
    calls = BY_NAME[names.CALL_DURATION].family
    yield Panel(
        "Calls a second", "Calls that have ended, by method.", "reqps",
        [(per_second(f"{calls}_count{{{mine}}}", _METHOD), line(_METHOD))],
    )  # fmt: skip
    yield Panel(
        "Calls that were not answered with OK", "By status. A caller's own mistakes are here too, as NOT_FOUND.", "reqps",
        [(per_second(f'{calls}_count{{{mine},{_CODE}!="OK"}}', _CODE), line(_CODE))],
    )  # fmt: skip
    yield Panel(
        "How long calls take", "Half, nineteen of twenty, and 99 of a hundred calls take no longer.", "s",
        quantiles(f"{calls}_bucket{{{mine}}}"), leads=True,
    )  # fmt: skip
    yield Panel(
        "How long calls take, by method", "99 of a hundred calls take no longer. A stream counts until it ends.", "s",
        [(quantile(0.99, f"{calls}_bucket{{{mine}}}", _METHOD), line(_METHOD))], leads=True,
    )  # fmt: skip
    yield Panel(
        "Work, and work that waits", "Workers at work, how many wait for a place, and how many places there are.", "short",
        [(f"sum ({named(name)}{{{mine}}})", word) for name, word in (
            (names.CALLS_RUNNING, "at work"), (names.CALLS_WAITING, "waits"), (names.CALLS_LIMIT, "places"),
        )],
    )  # fmt: skip
    yield Panel(
        "Calls that were not let in", "By reason: no token, no right, a quota, too much to do.", "reqps",
        [(per_second(f"{named(names.CALLS_REFUSED)}{{{mine}}}", _WHY), line(_WHY))],
    )  # fmt: skip


def _of_writing(mine: str) -> Iterator[Panel]:
    kind, store = label(names.EVENT_TYPE), BY_NAME[names.STORE_DURATION].family
    yield Panel(
        "Events written a minute", "By type.", "short",
        [(f"60 * {per_second(f'{named(names.EVENTS_APPENDED)}{{{mine}}}', kind)}", line(kind))],
    )  # fmt: skip
    yield Panel(
        "How long appends take", "Half, nineteen of twenty, and 99 of a hundred.", "s",
        quantiles(f"{store}_bucket{{{mine}}}"), leads=True,
    )  # fmt: skip
    yield Panel(
        "Appends that wrote nothing", "By reason. Conflict: another writer was faster; the command is decided anew.", "short",
        [(per_second(f'{store}_count{{{mine},{_WHY}!=""}}', _WHY), line(_WHY))],
    )  # fmt: skip


def _of_handling(mine: str) -> Iterator[Panel]:
    handling = BY_NAME[names.HANDLING_DURATION].family
    yield Panel(
        "Events handled a second", "By consumer group.", "short",
        [(per_second(f"{handling}_count{{{mine}}}", _GROUP), line(_GROUP))],
    )  # fmt: skip
    yield Panel(
        "Events that failed a second", "Each try counts. `city events lag` tells which event, and why.", "short",
        [(per_second(f'{handling}_count{{{mine},{_WHY}!=""}}', f"{_GROUP}, {_WHY}"), line(_GROUP, _WHY))],
    )  # fmt: skip
    yield Panel(
        "How long an event takes", "99 of a hundred are handled within this time.", "s",
        [(quantile(0.99, f"{handling}_bucket{{{mine}}}", _GROUP), line(_GROUP))], leads=True,
    )  # fmt: skip


def _of_groups(mine: str) -> Iterator[Panel]:
    for title, told, unit, name in (
        ("Events yet to look at", "Positions of the log that a group has before it.", "short", names.GROUP_LAG),
        ("Age of the oldest event", "Of those that a group has read and not handled yet.", "s", names.GROUP_AGE),
        ("Events that wait for a person", "`city events parked` lists them.", "short", names.GROUP_PARKED),
        ("Stands still", "For how long nothing was done though there is work.", "s", names.GROUP_STILL),
    ):
        # The process that works on a group tells of it; its partitions may be worked on by several.
        how = "sum" if unit == "short" else "max"
        yield Panel(title, told, unit, [(f"{how} by ({_GROUP}) ({named(name)}{{{mine}}})", line(_GROUP))])


def _of_tasks(mine: str) -> Iterator[Panel]:
    authority = label(names.AUTHORITY)
    for title, told, unit, name in (
        ("Tasks that wait for people", "By the authority that is asked now; without one: whoever is on duty.", "short",
         names.TASKS),
        ("How long the oldest task has waited", "In city time, by authority.", "s", names.TASKS_AGE),
    ):  # fmt: skip
        # Each process of a service tells of all of its tasks.
        yield Panel(title, told, unit, [(f"max by ({authority}) ({named(name)}{{{mine}}})", line(authority))])
