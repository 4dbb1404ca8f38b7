"""The dashboards of Grafana that are of no one service: the city, all subscriptions, all workflows, the gateway."""

from __future__ import annotations

from collections.abc import Iterator

from citybrain.observability import names
from citybrain.observability.failures import FAULTS
from citybrain.observability.grafana_form import Json, Panel, dashboard, line, named, per_second, quantile, quantiles
from citybrain.observability.numbers import BY_NAME, label
from citybrain.observability.objectives import RATIO

_OF, _GROUP, _WHY, _WORKFLOW, _STEP, _STATE, _CODE = (
    label(one)
    for one in (
        names.CITY_SERVICE, names.CONSUMER_GROUP, names.ERROR_TYPE, names.WORKFLOW, names.STEP, names.STATE, names.STATUS_CODE,
    )
)  # fmt: skip
# What Envoy tells of the callers' side, and of one service.
_GATE = 'envoy_http_conn_manager_prefix="gateway"'
_CLASS, _CLUSTER = "envoy_response_code_class", "envoy_cluster_name"


def all_dashboards() -> dict[str, Json]:
    """The dashboards, by the names of their files. No service can have such a name."""
    made = {
        "overview": ("City", "The whole city on one page.", _overview()),
        "subscriptions": ("Subscriptions", "All consumer groups of all services.", _subscriptions()),
        "workflows": ("Workflows", "All sagas: how many, how they end, which step takes how long.", _workflows()),
        "gateway": ("Gateway", "Envoy: what callers get, and what it gets from services.", _gateway()),
    }
    return {f"city-{name}": dashboard(f"city-all-{name}", title, about, ("city",), panels)
            for name, (title, about, panels) in made.items()}  # fmt: skip


def _overview() -> Iterator[Panel]:
    calls, store, loop = (BY_NAME[one].family for one in (names.CALL_DURATION, names.STORE_DURATION, names.LOOP_DELAY))
    yield Panel(
        "Services that take calls", "1: at least one process does. A line that ends: nothing is heard of the service.", "short",
        [(f"max by ({_OF}) ({named(names.SERVICE_READY)})", line(_OF))],
    )  # fmt: skip
    yield Panel(
        "Promises: what part was bad in an hour", "By service and objective.", "percentunit",
        [(f"{RATIO}1h", line(_OF, "objective"))],
    )  # fmt: skip
    yield Panel("Calls a second", "By service.", "reqps", [(per_second(f"{calls}_count", _OF), line(_OF))])
    yield Panel(
        "Calls that failed by a fault of the service", "By service and status.", "reqps",
        [(per_second(f'{calls}_count{{{_CODE}=~"{"|".join(FAULTS)}"}}', f"{_OF}, {_CODE}"), line(_OF, _CODE))],
    )  # fmt: skip
    yield Panel(
        "How long calls take", "99 of a hundred take no longer, by service.", "s",
        [(quantile(0.99, f"{calls}_bucket", _OF), line(_OF))], leads=True,
    )  # fmt: skip
    yield Panel("Events written a minute", "By service.", "short", [
        (f"60 * {per_second(named(names.EVENTS_APPENDED), _OF)}", line(_OF))])  # fmt: skip
    yield Panel("Sagas that have not ended", "By workflow and state.", "short", [
        (f"max by ({_WORKFLOW}, {_STATE}) ({named(names.SAGAS_OPEN)})", line(_WORKFLOW, _STATE))])  # fmt: skip
    yield Panel("How long the oldest task has waited", "For an authority, or whoever is on duty.", "s", [
        (f"max by ({label(names.AUTHORITY)}) ({named(names.TASKS_AGE)})", line(label(names.AUTHORITY)))])  # fmt: skip
    yield Panel("How long appends take", "99 of a hundred, by service.", "s", [
        (quantile(0.99, f"{store}_bucket", _OF), line(_OF))], leads=True)  # fmt: skip
    yield Panel("Appends that wrote nothing", "By reason.", "short", [
        (per_second(f'{store}_count{{{_WHY}!=""}}', _WHY), line(_WHY))])  # fmt: skip
    yield Panel("Events not yet in the log", "Written to their streams, and heard by nobody so far.", "short", [
        (f"sum ({named(names.LOG_BEHIND)})", "events")])  # fmt: skip
    yield Panel("Age of the oldest of them, and unknown outcomes", "And writes a second that were sent again.", "s", [
        (f"max ({named(names.LOG_BEHIND_AGE)})", "age"), (per_second(named(names.STORE_UNKNOWN)), "sent again")])  # fmt: skip
    yield Panel("Processor time", "Seconds of a processor in each second, by process.", "percentunit", [
        (per_second(named(names.CPU_TIME), "instance"), line("instance"))])  # fmt: skip
    yield Panel("Memory", "By process.", "bytes", [(named(names.MEMORY), line("instance"))])
    yield Panel("Delay of event loops", "99 of a hundred pauses end no later than this after their time.", "s", [
        (quantile(0.99, f"{loop}_bucket", "instance"), line("instance"))])  # fmt: skip
    yield Panel("Threads, files and streams", "That processes have open.", "short", [
        (f"sum ({named(names.THREADS)})", "threads"), (f"sum ({named(names.FILES)})", "files"),
        (f"sum ({named(names.STREAMS_OPEN)})", "streams")])  # fmt: skip
    yield Panel("For how long processes have run", "A line that falls: it was started again.", "s", [
        (named(names.UPTIME), line("instance"))])  # fmt: skip


def _subscriptions() -> Iterator[Panel]:
    handling = BY_NAME[names.HANDLING_DURATION].family
    for title, told, unit, name in (
        ("Events yet to look at", "Positions of the log before a group; the ten with most.", "short", names.GROUP_LAG),
        ("Age of the oldest event", "Of those that were read and not handled yet; the ten oldest.", "s", names.GROUP_AGE),
        ("Events that wait for a person", "`city events parked` lists them.", "short", names.GROUP_PARKED),
        ("Groups that fail", "1: an event fails and is tried again. `city events lag` says which, and why.", "short",
         names.GROUP_FAILING),
        ("Stand still", "For how long nothing was done though there is work.", "s", names.GROUP_STILL),
    ):  # fmt: skip
        how = "sum" if name in (names.GROUP_LAG, names.GROUP_PARKED) else "max"
        yield Panel(title, told, unit, [(f"topk (10, {how} by ({_OF}, {_GROUP}) ({named(name)}))", line(_GROUP))])
    yield Panel("Begun again because they stalled", "In the last hour.", "short", [
        (f"sum by ({_OF}, {_GROUP}) (increase({named(names.GROUP_RESTARTS)}[1h]))", line(_GROUP))])  # fmt: skip
    yield Panel("Events handled a second", "By service.", "short", [
        (per_second(f"{handling}_count", _OF), line(_OF))])  # fmt: skip
    yield Panel("Events that failed a second", "By group and error. Each try counts.", "short", [
        (per_second(f'{handling}_count{{{_WHY}!=""}}', f"{_GROUP}, {_WHY}"), line(_GROUP, _WHY))])  # fmt: skip
    yield Panel("How long an event takes", "99 of a hundred are handled within this time; the ten slowest groups.", "s", [
        (f"topk (10, {quantile(0.99, f'{handling}_bucket', _GROUP)})", line(_GROUP))], leads=True)  # fmt: skip


def _workflows() -> Iterator[Panel]:
    steps = BY_NAME[names.STEP_DURATION].family
    yield Panel("Begun a minute", "By workflow.", "short", [
        (f"60 * {per_second(named(names.SAGAS_STARTED), _WORKFLOW)}", line(_WORKFLOW))])  # fmt: skip
    yield Panel("Ended a minute", "By workflow, and how.", "short", [
        (f"60 * {per_second(named(names.SAGAS_ENDED), f'{_WORKFLOW}, {_STATE}')}", line(_WORKFLOW, _STATE))])  # fmt: skip
    # Each process of the workflows tells of all of them.
    yield Panel("Have not ended", "By workflow and state.", "short", [
        (f"max by ({_WORKFLOW}, {_STATE}) ({named(names.SAGAS_OPEN)})", line(_WORKFLOW, _STATE))])  # fmt: skip
    yield Panel("Need a human", "By workflow. `city sagas tasks` lists what is asked.", "short", [
        (f'max by ({_WORKFLOW}) ({named(names.SAGAS_OPEN)}{{{_STATE}="needs human"}})', line(_WORKFLOW))])  # fmt: skip
    yield Panel("Tasks that wait for people", "By the authority that is asked now.", "short", [
        (f"max by ({label(names.AUTHORITY)}) ({named(names.TASKS)})", line(label(names.AUTHORITY)))])  # fmt: skip
    yield Panel("How long the oldest task has waited", "In city time, by authority.", "s", [
        (f"max by ({label(names.AUTHORITY)}) ({named(names.TASKS_AGE)})", line(label(names.AUTHORITY)))])  # fmt: skip
    yield Panel("How long steps take", "In city time: nineteen of twenty take no longer.", "s", [
        (quantile(0.95, f"{steps}_bucket", f"{_WORKFLOW}, {_STEP}"), line(_WORKFLOW, _STEP))], leads=True)  # fmt: skip
    yield Panel("Steps that did not end well", "Failed, timed out, skipped: in the last hour.", "short", [
        (f'sum by ({_WORKFLOW}, {_STEP}, {_STATE}) (increase({steps}_count{{{_STATE}!="done"}}[1h]))',
         line(_WORKFLOW, _STEP, _STATE))])  # fmt: skip


def _gateway() -> Iterator[Panel]:
    yield Panel("Answers a second", "By class: 2 is good, 4 a mistake of the caller, 5 one of ours.", "reqps", [
        (per_second(f"envoy_http_downstream_rq_xx{{{_GATE}}}", _CLASS), f"{line(_CLASS)}xx")])  # fmt: skip
    yield Panel("How long answers take", "Half, nineteen of twenty, and 99 of a hundred. A stream counts until it ends.", "ms",
                quantiles(f"envoy_http_downstream_rq_time_bucket{{{_GATE}}}"))  # fmt: skip
    yield Panel("Connections and calls that are open", "Of callers.", "short", [
        (f"sum (envoy_http_downstream_cx_active{{{_GATE}}})", "connections"),
        (f"sum (envoy_http_downstream_rq_active{{{_GATE}}})", "calls")])  # fmt: skip
    yield Panel("Calls that were not let in", "No good token; more calls than one consumer may make a second.", "reqps", [
        (per_second(f"envoy_http_jwt_authn_denied{{{_GATE}}}"), "no good token"),
        (per_second('envoy_http_local_rate_limit_rate_limited{envoy_local_http_ratelimit_prefix="consumers"}'), "too many"),
    ])  # fmt: skip
    yield Panel("Faults of services", "Answers of class 5, by service.", "reqps", [
        (per_second(f'envoy_cluster_upstream_rq_xx{{{_CLASS}="5"}}', _CLUSTER), line(_CLUSTER))])  # fmt: skip
    yield Panel("How long services take", "99 of a hundred answers, by service.", "ms", [
        (quantile(0.99, "envoy_cluster_upstream_rq_time_bucket", _CLUSTER), line(_CLUSTER))])  # fmt: skip
    yield Panel("Processes of a service that are well", "As Envoy sees them.", "short", [
        (f"sum by ({_CLUSTER}) (envoy_cluster_membership_healthy)", line(_CLUSTER))])  # fmt: skip
    yield Panel("Calls that were tried again", "By service.", "reqps", [
        (per_second("envoy_cluster_upstream_rq_retry", _CLUSTER), line(_CLUSTER))])  # fmt: skip
    yield Panel("Calls that wait for a connection, or found none", "By service.", "short", [
        (f"sum by ({_CLUSTER}) (envoy_cluster_upstream_rq_pending_active)", f"{line(_CLUSTER)} waits"),
        (per_second("envoy_cluster_upstream_rq_pending_overflow", _CLUSTER), f"{line(_CLUSTER)} found none")])  # fmt: skip
    yield Panel("Memory", "Of Envoy.", "bytes", [("sum (envoy_server_memory_allocated)", "memory")])
