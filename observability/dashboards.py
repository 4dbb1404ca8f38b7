"""One dashboard of Grafana for a service: its calls, its events, its consumer groups. Its numbers are those of metrics.py.

Expressions are for Prometheus.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from citybrain.observability import names
from citybrain.observability.numbers import BY_NAME, label

Json = dict[str, Any]

# The version of the form of dashboards that Grafana 10 and later read.
_SCHEMA = 39
_WIDTH, _HEIGHT = 12, 8
_SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True, slots=True)
class Told:
    """What a dashboard has to know of a service.

    `publishes`: it writes events; `hears`: it has methods that hear events; `follows`: it has consumer groups, for these
    methods or for its read models; `asks_people`: tasks of it wait for people.
    """

    name: str
    title: str
    team: str
    publishes: bool = False
    hears: bool = False
    follows: bool = False
    asks_people: bool = False


@dataclass(slots=True)
class _Panel:
    title: str
    description: str
    unit: str
    queries: list[tuple[str, str]] = field(default_factory=list)


def dashboard(service: Told) -> Json:
    """The dashboard, as Grafana imports it."""
    panels = [_drawn(number, panel) for number, panel in enumerate(_panels(service))]
    return {
        "uid": f"city-{service.name.replace('_', '-')}",
        "title": service.title,
        "description": f"The service {service.name} of team {service.team}.",
        "tags": ["city", service.team],
        "schemaVersion": _SCHEMA,
        "timezone": "Asia/Shanghai",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]},
        "panels": panels,
    }


def _panels(service: Told) -> Iterator[_Panel]:
    mine = f'{label(names.CITY_SERVICE)}="{service.name}"'
    method, code = label(names.RPC_METHOD), label(names.STATUS_CODE)
    calls = _named(names.CALL_DURATION)
    yield _Panel(
        "Calls a second", "Calls that have ended, by method.", "reqps",
        [(f"sum by ({method}) (rate({calls}_count{{{mine}}}[$__rate_interval]))", f"{{{{{method}}}}}")],
    )  # fmt: skip
    yield _Panel(
        "Calls that were not answered with OK", "By status. A caller's own mistakes are here too, as NOT_FOUND.",
        "reqps", [(f'sum by ({code}) (rate({calls}_count{{{mine},{code}!="OK"}}[$__rate_interval]))', f"{{{{{code}}}}}")],
    )  # fmt: skip
    yield _Panel(
        "How long calls take", "Half, nineteen of twenty, and 99 of a hundred calls take no longer.", "s",
        [(_quantile(part, f"{calls}_bucket{{{mine}}}", ""), f"p{part * 100:g}") for part in (0.5, 0.95, 0.99)],
    )  # fmt: skip
    yield _Panel(
        "How long calls take, by method", "99 of a hundred calls take no longer. A stream counts until it ends.", "s",
        [(_quantile(0.99, f"{calls}_bucket{{{mine}}}", method), f"{{{{{method}}}}}")],
    )  # fmt: skip
    if service.publishes:
        kind, written = label(names.EVENT_TYPE), _named(names.EVENTS_APPENDED)
        yield _Panel(
            "Events written a minute", "By type.", "short",
            [(f"60 * sum by ({kind}) (rate({written}{{{mine}}}[$__rate_interval]))", f"{{{{{kind}}}}}")],
        )  # fmt: skip
    if service.hears:
        yield from _of_handling(mine)
    if service.follows:
        yield from _of_groups(mine)
    if service.asks_people:
        yield from _of_tasks(mine)


def _of_handling(mine: str) -> Iterator[_Panel]:
    group, error = label(names.CONSUMER_GROUP), label(names.ERROR_TYPE)
    handling = _named(names.HANDLING_DURATION)
    yield _Panel(
        "Events handled a second", "By consumer group.", "short",
        [(f"sum by ({group}) (rate({handling}_count{{{mine}}}[$__rate_interval]))", f"{{{{{group}}}}}")],
    )  # fmt: skip
    yield _Panel(
        "Events that failed a second", "Each try counts. `city events lag` tells which event, and why.", "short",
        [(f'sum by ({group}, {error}) (rate({handling}_count{{{mine},{error}!=""}}[$__rate_interval]))',
          f"{{{{{group}}}}} {{{{{error}}}}}")],
    )  # fmt: skip
    yield _Panel(
        "How long an event takes", "99 of a hundred are handled within this time.", "s",
        [(_quantile(0.99, f"{handling}_bucket{{{mine}}}", group), f"{{{{{group}}}}}")],
    )  # fmt: skip


def _of_groups(mine: str) -> Iterator[_Panel]:
    group = label(names.CONSUMER_GROUP)
    lag, parked = _named(names.GROUP_LAG), _named(names.GROUP_PARKED)
    still = _named(names.GROUP_STILL)
    for title, told, unit, metric in (
        ("Events yet to look at", "Positions of the log that a group has before it.", "short", lag),
        ("Events that wait for a person", "`city events parked` lists them.", "short", parked),
        ("Stands still", "For how long nothing was done though there is work.", "s", still),
    ):
        yield _Panel(title, told, unit, [(f"sum by ({group}) ({metric}{{{mine}}})", f"{{{{{group}}}}}")])


def _of_tasks(mine: str) -> Iterator[_Panel]:
    authority = label(names.AUTHORITY)
    for title, told, unit, metric in (
        ("Tasks that wait for people", "By the authority that is asked now; without one: whoever is on duty.", "short",
         _named(names.TASKS)),
        ("How long the oldest task has waited", "In city time, by authority.", "s",
         _named(names.TASKS_AGE)),
    ):  # fmt: skip
        # Each process of a service tells of all of its tasks.
        yield _Panel(title, told, unit, [(f"max by ({authority}) ({metric}{{{mine}}})", f"{{{{{authority}}}}}")])


def _named(name: str) -> str:
    return BY_NAME[name].prometheus


def _quantile(part: float, buckets: str, by: str) -> str:
    return f"histogram_quantile({part:g}, sum by ({', '.join(filter(None, ('le', by)))}) (rate({buckets}[$__rate_interval])))"


def _drawn(number: int, panel: _Panel) -> Json:
    place = {"h": _HEIGHT, "w": _WIDTH, "x": number % 2 * _WIDTH, "y": number // 2 * _HEIGHT}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "gridPos": place,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for at, (expression, legend) in enumerate(panel.queries)
        ],
    }
