"""`make bench`: measures and writes benchmarks/latest.json. FULL=1 adds the long rows, the rides of the demo too."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from benchmarks import (
    cassandra_append,
    city_stories,
    cluster_live,
    control_1000,
    control_areas,
    credit_check,
    crowd_forecast,
    embedded,
    emergency_response,
    engines_memory,
    gateway,
    hub,
    incident_detection,
    incident_query,
    on_kafka,
    readings_10k,
    reload,
    rides,
    rush,
    rush_rides,
    saga_list,
    saga_processes,
    sagas,
    sector_readings,
    tickets_near,
    tracing_cost,
    whole_mesh,
)  # fmt: skip
from benchmarks.kit import events, measure
from benchmarks.rows import Row, keep

ROWS: dict[str, Callable[[bool], list[Row]]] = {
    "kit-unary": lambda full: measure.unary(rounds=5 if full else 2),
    "kit-command": lambda full: measure.command(rounds=5 if full else 2),
    "incident-query": incident_query.measure,
    "tracing-cost": lambda full: tracing_cost.measure(5.0 if full else 3.0, 4 if full else 2),
    "kit-subscribe": lambda full: events.measure(200_000 if full else 60_000),
    "embedded": embedded.measure,
    "kafka-consume": lambda full: on_kafka.measure(200_000 if full else 60_000),
    "cassandra-append": lambda full: cassandra_append.measure(20.0 if full else 8.0),
    "cluster-live": lambda full: cluster_live.measure(),
    "engines-memory": lambda full: engines_memory.measure(60.0 if full else 20.0),
    "gateway": lambda full: gateway.measure(4000 if full else 1500),
    "redaction": lambda full: gateway.redaction(),
    "hub": lambda full: hub.measure(1_000_000 if full else 100_000, 20.0 if full else 8.0),
    "reload": lambda full: reload.measure(),
    "mesh": whole_mesh.measure,
    "readings-10k": readings_10k.measure,
    "readings-10k-engines": readings_10k.measure_engines,
    "sagas": sagas.measure,
    "saga-processes": saga_processes.measure,
    "saga-list": lambda full: saga_list.measure(5000 if full else 2000),
    "credit-check": lambda full: credit_check.measure(
        100_000 if full else 5_000, 2000 if full else 1000, 10.0 if full else 5.0
    ),
    "crowd-forecast": crowd_forecast.measure,
    "sector-readings": sector_readings.measure,
    "tickets-near": lambda full: tickets_near.measure(1_000_000 if full else 50_000, 2000),
    "story-pollution": city_stories.pollution_rows,
    "story-burst": city_stories.burst_rows,
    "incident-detection": incident_detection.measure,
    "control-1000": lambda full: control_1000.measure(100 if full else 30),
    "control-areas": control_areas.measure,
    "control-areas-engines": control_areas.measure_engines,
    "rush-demo": rush.measure,
    "rush-rides": rush_rides.measure,
    "emergency-response": lambda full: emergency_response.measure(),
}
"""The measurements besides the rides. Each is given whether the long rows are wanted."""


def main() -> int:
    """Runs what was asked for; prints each row as it is done."""
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("only", nargs="*", help=f"{', '.join(ROWS)}, demo-rides; all but the rides when none is given")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--city", action="append", default=[], help="instead of the cities of the whole run")
    options = parser.parse_args()
    full = os.environ.get("FULL") == "1"
    unknown = set(options.only) - {*ROWS, "demo-rides"}
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}; there are: {', '.join(ROWS)}, demo-rides")
    for name, measured in ROWS.items():
        if not options.only or name in options.only:
            keep(_shown(measured(full)))
    # Ten seeds of one city take longer than all else together.
    if "demo-rides" in options.only or (full and not options.only):
        for city in options.city or ("cologne8", *(("ingolstadt21",) if full else ())):
            keep(_shown(rides.measure(city, range(1, options.seeds + 1))))
    return 0


def _shown(rows: list[Row]) -> list[Row]:
    for row in rows:
        sys.stdout.write(f"{row.name}: {row.value:.1f} {row.unit} · {row.peer}: {row.peer_value:.1f} · ratio {row.ratio:.2f}\n")
    return rows


if __name__ == "__main__":
    sys.exit(main())
