"""The alerts of a city that follow from no promise of a service: what stands still, waits for people, is behind or is full."""

from __future__ import annotations

from citybrain.observability import names
from citybrain.observability.numbers import BY_NAME, label
from citybrain.observability.rules import PAGE, TICKET, Alert, Group, matcher, rule_files

_OF, _GROUP, _WHO, _WHY = (label(one) for one in (names.CITY_SERVICE, names.CONSUMER_GROUP, names.AUTHORITY, names.ERROR_TYPE))
# What Envoy tells of callers.
_ANSWERS, _GATE = "envoy_http_downstream_rq_xx", 'envoy_http_conn_manager_prefix="gateway"'


def _n(name: str) -> str:
    return BY_NAME[name].prometheus


def _each(*labels: str) -> str:
    """The values of labels, as annotations name them."""
    return " ".join(f"{{{{ $labels.{one} }}}}" for one in labels)


ALERTS = (
    Alert(
        "CityProcessDown", 'up{job=~"city-.*"} == 0', "1m", PAGE,
        "A process of the city does not answer: {{ $labels.instance }}", "Prometheus has read nothing there for a minute.",
    ),
    Alert(
        "CityServiceNotReady", f"max by ({_OF}) ({_n(names.SERVICE_READY)}) == 0", "1m", PAGE,
        f"{_each(_OF)} takes no calls", "No process of the service has been ready for a minute.",
    ),
    Alert(
        "CityServiceUnled", f"max by ({_OF}) ({_n(names.SERVICE_LEADS)}) == 0", "1m", PAGE,
        f"No process leads {_each(_OF)}",
        "Nobody hears events for it, folds its read models or fires its timers. Calls see what was folded before.",
    ),
    Alert(
        "CityClockWrong", f"abs({_n(names.CLOCK)} - timestamp({_n(names.CLOCK)})) > 5", "1m", PAGE,
        "The clock of a process is {{ $value | humanizeDuration }} wrong: {{ $labels.instance }}",
        "Its events carry wrong times, and its timers and deadlines are over too early or too late.",
    ),
    Alert(
        "CitySubscriptionStalled",
        f"max by ({_OF}, {_GROUP}) ({_n(names.GROUP_STILL)}) > 25 or "
        f"sum by ({_OF}, {_GROUP}) (increase({_n(names.GROUP_RESTARTS)}[10m])) >= 1",
        "", PAGE, f"{_each(_GROUP)} stands still",
        "It has events to handle, and handles none; it is begun again and again.",
    ),
    Alert(
        "CitySubscriptionFails", f"max by ({_OF}, {_GROUP}) ({_n(names.GROUP_FAILING)}) == 1", "5m", TICKET,
        f"{_each(_GROUP)} tries an event again and again", "For five minutes the same thing has failed.",
    ),
    Alert(
        "CityEventsParked", f"sum by ({_OF}, {_GROUP}) ({_n(names.GROUP_PARKED)}) > 0", "1m", TICKET,
        f"{{{{ $value }}}} events of {_each(_GROUP)} wait for a person",
        "They have used up their tries, and later ones of their streams wait behind them.",
    ),
    Alert(
        "CitySagaNeedsHuman",
        f"max by ({_OF}, {label(names.WORKFLOW)}) ({_n(names.SAGAS_OPEN)}{{{matcher({names.STATE: 'needs human'})}}}) > 0",
        "", PAGE, f"{{{{ $value }}}} sagas of {_each(label(names.WORKFLOW))} cannot go on by themselves",
        "A workflow across departments has stopped, and somebody must decide how it goes on.",
    ),
    Alert(
        "CityTaskWaits", f"max by ({_OF}, {_WHO}) ({_n(names.TASKS_AGE)}) > 900", "", PAGE,
        f"A task has waited for {{{{ $value | humanizeDuration }}}} for somebody of {_each(_WHO)}",
        "An authority was asked, or whoever is on duty, and nobody has answered for a quarter of an hour of city time.",
    ),
    Alert(
        "CityPublishingBehind", f"max by (instance) ({_n(names.LOG_BEHIND_AGE)}) > 10", "1m", PAGE,
        "Events are written, and nobody hears them: {{ $labels.instance }}",
        "The oldest event that is in its stream and not in the log is {{ $value | humanizeDuration }} old.",
    ),
    Alert(
        "CityAppendsFail",
        f"sum by ({_OF}, {_WHY}) (rate({_n(names.STORE_DURATION)}_count{{{_WHY}!~\"|Conflict|Cancelled\"}}[5m])) > 0",
        "1m", PAGE, f"The event store takes nothing from {_each(_OF)}: {_each(_WHY)}",
        "Appends have ended with an error, or without a known outcome, for a minute.",
    ),
    Alert(
        "CityCallsRefused",
        f"sum by ({_OF}) (increase({_n(names.CALLS_REFUSED)}{{{matcher({names.ERROR_TYPE: 'TOO_MANY_CALLS'})}}}[5m])) > 20",
        "", PAGE, f"{_each(_OF)} has too much to do",
        "{{ $value }} calls were refused within five minutes because too many wait already.",
    ),
    Alert(
        "CityGatewayFails",
        f'sum (rate({_ANSWERS}{{{_GATE},envoy_response_code_class="5"}}[5m])) / sum (rate({_ANSWERS}{{{_GATE}}}[5m])) > 0.05',
        "2m", PAGE, "The gateway answers {{ $value | humanizePercentage }} of its callers with a fault",
        "For two minutes more than one answer in twenty was of class 5: services fail, or cannot be reached.",
    ),
    Alert(
        "CityLoopDelayed",
        f"histogram_quantile(0.9, sum by (instance, le) (rate({_n(names.LOOP_DELAY)}_bucket[5m]))) > 0.25", "5m", TICKET,
        "The event loop of a process is late: {{ $labels.instance }}",
        "One pause in ten ends a quarter of a second too late: something computes in the loop, or the machine is full.",
    ),
)  # fmt: skip


def rules() -> str:
    """The text of the file for Prometheus."""
    return rule_files([Group("the city", ALERTS)])
