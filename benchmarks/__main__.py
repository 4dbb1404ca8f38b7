"""`make bench`: measures and writes benchmarks/latest.json. FULL=1 adds the long rows."""

from __future__ import annotations

import argparse
import os
import sys

from benchmarks import emergency_response, rides
from benchmarks.rows import Row, keep


def main() -> int:
    """Runs what was asked for; prints each row as it is done."""
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("only", nargs="*", help="emergency-response, demo-rides; all when none is given")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--city", action="append", default=[], help="instead of the cities of the whole run")
    options = parser.parse_args()
    full = os.environ.get("FULL") == "1"
    rows: list[Row] = []
    if not options.only or "emergency-response" in options.only:
        rows += _shown(emergency_response.measure())
    if not options.only or "demo-rides" in options.only:
        for city in options.city or ("cologne8", *(("ingolstadt21",) if full else ())):
            rows += _shown(rides.measure(city, range(1, options.seeds + 1)))
            keep(rows)
    keep(rows)
    return 0


def _shown(rows: list[Row]) -> list[Row]:
    for row in rows:
        sys.stdout.write(f"{row.name}: {row.value:.1f} {row.unit} · {row.peer}: {row.peer_value:.1f} · ratio {row.ratio:.2f}\n")
    return rows


if __name__ == "__main__":
    sys.exit(main())
