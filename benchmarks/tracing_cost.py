"""tracing-cost: what it costs to see what happens. Calls a second with spans, metrics and log lines on, beside all off.

Spans go to a receiver in this process, metrics to another one, log lines to a file. With every span kept, and with 5 % of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from benchmarks.kit.measure import drive, kit
from benchmarks.rows import Aim, Row
from citybrain.observability.receiver import Receiver
from tests.helpers.metrics_receiver import MetricsReceiver

_CALLERS = 32
_METHODS = {"GetSignal": "a call that answers at once", "ReportSignal": "a command"}
_AIMS = {"every span kept": Aim(0.6), "5 % of the spans kept": Aim(0.85)}


def measure(seconds: float, rounds: int) -> list[Row]:
    """The sides in turns; the best round of each counts."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        receiver = Receiver(folder / "traces.db")
        spans, numbers = receiver.start(), stack.enter_context(MetricsReceiver()).endpoint
        stack.callback(receiver.stop)
        on = {
            "OTEL_SDK_DISABLED": "false", "CITY_LOG_LEVEL": "info", "CITY_TRACES_ENDPOINT": spans,
            "CITY_METRICS_ENDPOINT": numbers, "CITY_METRICS_LISTEN": "127.0.0.1:0",
        }  # fmt: skip
        sides: dict[str, Mapping[str, str]] = {
            "off": {},
            "every span kept": on,
            "5 % of the spans kept": {**on, "CITY_TRACES_RATE": "0.05"},
        }
        servers = {}
        for number, (side, environment) in enumerate(sides.items()):
            data = folder / str(number)
            servers[side] = data, stack.enter_context(kit(data, environment=environment, log=folder / f"{number}.log"))
        best: dict[tuple[str, str], float] = {}
        for method in _METHODS:
            for _ in range(rounds):
                for side, (data, server) in servers.items():
                    calls = drive(server, data, method, _CALLERS, seconds)["calls"] / seconds
                    best[method, side] = max(calls, best.get((method, side), 0.0))
    return [
        Row(f"tracing-cost, {what}, {side}", best[method, side], "calls/s", "all off", best[method, "off"], aim)
        for method, what in _METHODS.items()
        for side, aim in _AIMS.items()
    ]
