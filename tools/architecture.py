"""Makes docs/architecture.svg: the city on one page, with the services that its manifests name.

`make reference` writes; `make check` fails where the picture has drifted.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "architecture.svg"

_WIDTH, _EDGE, _GAP = 1160, 20, 12
_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1c2733 }
.name { font-weight: 600 }
.small { font-size: 11.5px; fill: #4a5a6a }
rect { rx: 6; stroke: #5b7083; fill: #f4f7fa }
.outside { fill: #ffffff; stroke-dasharray: 5 4 }
.gateway { fill: #e3eefb } .service { fill: #e8f4ea } .kit { fill: #f7f1e1 } .log { fill: #efe8f6 }
path { stroke: #5b7083; fill: none; marker-end: url(#arrow) }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #a9b8c6 } rect { fill: #1d2731 } .outside { fill: #10161c }
  .gateway { fill: #16304a } .service { fill: #17351f } .kit { fill: #3a3216 } .log { fill: #2f2440 }
}"""
_OUTSIDE = (
    ("Callers", "telephones, apps, wearables"),
    ("Super-apps 城市级应用", "gRPC, JSON, gRPC-Web"),
    ("District hubs 区县中枢", "subscribe, acknowledge, report"),
    ("Terminals and signals", "ambulances, controllers"),
    ("People on duty", "city status, trace, audit"),
)


def made() -> str:
    """The picture as it should stand."""
    from citybrain.mesh.startup.serve import choose

    services = [(one.title, _told(len(one.publishes), len(one.subscribes))) for one in choose([], [])]
    parts: list[str] = []
    y = _row(parts, 40, _OUTSIDE, "outside", columns=len(_OUTSIDE))
    parts.append(_arrow(_WIDTH / 2, y, 34))
    told = "the one gateway: tokens, limits, deadlines, transcoding, pages of the API; routes made from manifests"
    y = _row(parts, y + 40, (("Envoy 网关", told),), "gateway", columns=1)
    parts.append(_arrow(_WIDTH / 2, y, 34))
    y = _row(parts, y + 40, services, "service", columns=3)
    told = "nameko workers on one asyncio loop with grpc.aio: validation, guard, idempotency, views, reactions, timers, tracing"
    y = _row(parts, y + _GAP, (("The kit (mesh)", told),), "kit", columns=1)
    parts.append(_arrow(_WIDTH / 2 - 60, y, 34))
    parts.append(_arrow(_WIDTH / 2 + 60, y + 40, -34))
    log = (
        ("Event log", "commands append to streams; all who hear read it"),
        ("Embedded: SQLite", "one file, one machine"),
        ("Distributed: Cassandra and Kafka", "streams and their outbox; the log"),
    )
    y = _row(parts, y + 46, log, "log", columns=3)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 20:g}" role="img" aria-labelledby="title">\n'
        f'<title id="title">The city on one page: outside, gateway, services, kit, event log</title>\n<style>{_STYLE}</style>\n'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<polygon points="0,0 8,4 0,8" fill="#5b7083"/></marker></defs>\n'
        '<text x="20" y="24" class="small">Everything is a call through the gateway or an event in the log; '
        "one trace follows an incident through both.</text>\n"
    )
    return head + "\n".join(parts) + "\n</svg>\n"


def _told(publishes: int, hears: int) -> str:
    """What a service says to the log, and hears there."""
    parts = [f"publishes {publishes} {'type' if publishes == 1 else 'types'} of events"] if publishes else []
    return ", ".join([*parts, *([f"hears {hears} of others"] if hears else [])]) or "answers calls"


def _row(
    parts: list[str], y: float, boxes: tuple[tuple[str, str], ...] | list[tuple[str, str]], kind: str, columns: int
) -> float:
    """Adds boxes in rows; returns where they end."""
    width = (_WIDTH - 2 * _EDGE - (columns - 1) * _GAP) / columns
    for number, (name, told) in enumerate(boxes):
        x = _EDGE + number % columns * (width + _GAP)
        top = y + number // columns * (54 + _GAP)
        parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{top:g}" width="{width:.1f}" height="54"/>'
            f'<text class="name" x="{x + 12:.1f}" y="{top + 23:g}">{escape(name)}</text>'
            f'<text class="small" x="{x + 12:.1f}" y="{top + 41:g}">{escape(told)}</text>'
        )
    rows = -(-len(boxes) // columns)
    return y + rows * 54 + (rows - 1) * _GAP


def _arrow(x: float, y: float, length: float) -> str:
    return f'<path d="M{x:g},{y + (3 if length > 0 else -3):g} v{length:g}"/>'


def main() -> int:
    """Writes it."""
    PICTURE.write_text(made(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
