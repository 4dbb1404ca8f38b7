"""From what a service promises to rules for Prometheus: what it keeps of its promise, and alerts when too much of it is broken.

The alerts are those of Google's Site Reliability Workbook, chapter 5, "Alerting on SLOs", table 5-8 (multi-burn-rate).
An objective of 99.9 % leaves a budget of 0.1 % of errors. Whoever uses it up 14.4 times too fast has used 2 % of the budget of
30 days within an hour, 6 times too fast 5 % within six hours: somebody is woken. Whoever uses it up at just that pace has used
10 % within three days: a ticket. Each alert also looks at a shorter window, so that it ends soon after the cause.

Few calls make large ratios, so an alert on calls asks for five bad ones in its long window (the same chapter, "Low-Traffic
Services and Error Budget Alerting").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from citybrain.observability import names
from citybrain.observability.failures import FAULTS
from citybrain.observability.numbers import BY_NAME, label
from citybrain.observability.rules import PAGE, TICKET, Alert, Group, Record, matcher, rule_files

RATIO = "city:slo_errors:ratio_rate"
"""What part was bad in a window, e.g. `city:slo_errors:ratio_rate5m`, by `city_service` and `objective`."""
STALE = "city:slo_stale:max"
"""Whether some event waits longer than promised, by `city_service`."""
BURNS_FAST, BURNS_SLOWLY, SILENT = "CityObjectiveBurnsFast", "CityObjectiveBurnsSlowly", "CityServiceSilent"
WINDOWS = ("5m", "30m", "1h", "6h", "3d")
_PAGES = (("1h", "5m", 14.4), ("6h", "30m", 6.0))
_TICKET = ("3d", "6h", 1.0)
_ENOUGH = 5


@dataclass(frozen=True, slots=True)
class Promise:
    """One objective. `target`: the part that must be good; `within_s`: the time, None: that calls are answered at all.

    `kind`: read, command or stream; events: that none waits longer than `within_s`.
    """

    kind: str
    target: float
    within_s: float | None = None

    @property
    def name(self) -> str:
        """Its name in labels."""
        if self.kind == "events":
            return "events fresh"
        return f"{self.kind} answered" if self.within_s is None else f"{self.kind} within {self.within_s:g} s"


def of_service(service: str, promises: tuple[Promise, ...]) -> list[Group]:
    """The rules of one service."""
    mine = matcher({names.CITY_SERVICE: service})
    found = [Group(f"{service}: is it there", [_silent(service, mine)])]
    for promise in promises:
        rules: list[Record | Alert] = [*_records(service, mine, promise), *_alerts(service, mine, promise)]
        found.append(Group(f"{service}: {promise.name}", rules))
    return found


def rules(service: str, promises: tuple[Promise, ...]) -> str:
    """The same as the text of a file for Prometheus."""
    return rule_files(of_service(service, promises))


def _silent(service: str, mine: str) -> Alert:
    return Alert(
        SILENT, f"absent({BY_NAME[names.SERVICE_READY].prometheus}{{{mine}}})", "2m", PAGE,
        f"Nothing is heard of {service}", f"For two minutes no process has told anything of the service {service}.",
        {label(names.CITY_SERVICE): service},
    )  # fmt: skip


def _records(service: str, mine: str, promise: Promise) -> Iterator[Record]:
    told = {label(names.CITY_SERVICE): service, "objective": promise.name}
    if promise.kind == "events":
        age = BY_NAME[names.GROUP_AGE].prometheus
        yield Record(STALE, f"max({age}{{{mine}}} > bool {promise.within_s:g})", {label(names.CITY_SERVICE): service})
    for window in WINDOWS:
        yield Record(f"{RATIO}{window}", _ratio(mine, promise, window), told)


def _ratio(mine: str, promise: Promise, window: str) -> str:
    """The part that was bad."""
    if promise.kind == "events":
        return f"avg_over_time({STALE}{{{mine}}}[{window}])"
    if promise.within_s is not None:
        buckets = f"{_calls(promise, mine, 'bucket', _end(promise.within_s))}[{window}]"
        return f"1 - sum(rate({buckets})) / sum(rate({_calls(promise, mine)}[{window}]))"
    faults = f'{label(names.STATUS_CODE)}=~"{"|".join(FAULTS)}"'
    bad = f"sum(rate({_calls(promise, mine, more=faults)}[{window}])) or vector(0)"
    return f"({bad}) / sum(rate({_calls(promise, mine)}[{window}]))"


def _alerts(service: str, mine: str, promise: Promise) -> Iterator[Alert]:
    budget, what = 1 - promise.target, {"objective": promise.name, label(names.CITY_SERVICE): service}
    promised = f"{promise.name}: {promise.target * 100:g} %"
    fast = " or ".join(f"({_burns(mine, promise, *pair, budget)})" for pair in _PAGES)
    yield Alert(
        BURNS_FAST, fast, "", PAGE, f"{service} breaks its promise, {promised}",
        "It goes on like this: the errors that 30 days may have are used up within days.", what,
    )  # fmt: skip
    yield Alert(
        BURNS_SLOWLY, _burns(mine, promise, *_TICKET, budget), "", TICKET, f"{service} will not keep its promise, {promised}",
        "A little too much fails, for days: at the end of 30 days the promise is broken.", what,
    )  # fmt: skip


def _burns(mine: str, promise: Promise, long: str, short: str, factor: float, budget: float) -> str:
    which = f'{{{mine},objective="{promise.name}"}}'
    above = f"{factor * budget:.6g}"
    both = f"{RATIO}{long}{which} > {above} and {RATIO}{short}{which} > {above}"
    if promise.kind == "events":
        return both
    bad = f"{RATIO}{long}{which} * on () group_left () sum(increase({_calls(promise, mine)}[{long}]))"
    return f"{both} and {bad} >= {_ENOUGH}"


def _calls(promise: Promise, mine: str, part: str = "count", more: str = "") -> str:
    kind = matcher({names.CALL_CLASS: promise.kind})
    return f"{BY_NAME[names.CALL_DURATION].prometheus}_{part}{{{','.join(filter(None, (mine, kind, more)))}}}"


def _end(seconds: float) -> str:
    """The end of a bucket. Prometheus 3 writes 1.0 where earlier ones, and we, write 1."""
    text = f"{seconds:g}"
    return f'le="{text}"' if "." in text else f'le=~"{text}([.]0)?"'
