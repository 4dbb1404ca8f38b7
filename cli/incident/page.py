"""An incident as one page that needs no network: what to know first, steps, deadlines, spans, the map of streams, the timeline.

It has no script. Colours follow what the reader's system asks for, light or dark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from html import escape
from itertools import islice

from citybrain.cli.incident.steps import StepRun
from citybrain.cli.incident.story import Incident, called, findings, numbers, timeline, took
from citybrain.observability.spans import Span
from citybrain.observability.terminal import escaped
from citybrain.observability.trace_tree import Node

MOST_ROWS = 2000
"""So many rows a table has; what is more is counted."""
_PATH_ROWS = 30
_ROW_H, _MAP_W, _NODE_W = 34, 720, 220

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2430; --soft: #5b6675; --line: #d9dee5; --paper: #fff;
  --bar: #8fb3d9; --path: #b8650f; --bad: #c0392b; --well: #2e7d4f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa5b4; --line: #343c47; --paper: #14181d;
  --bar: #48698c; --path: #e59a4c; --bad: #ef6a5a; --well: #6cc391; } }
body { font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  margin: 2rem auto; max-width: 1200px; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } .soft { color: var(--soft); }
table { border-collapse: collapse; width: 100%; } .wide { overflow-x: auto; }
td, th { text-align: left; padding: .15rem .6rem .15rem 0; vertical-align: top; border-bottom: 1px solid var(--line); }
code { font-size: .95em; } .failed, .late { color: var(--bad); } .well { color: var(--well); }
.waits, .slow, .missing { color: var(--path); }
.lane { position: relative; height: 1rem; min-width: 420px; }
.bar { position: absolute; top: .2rem; height: .6rem; min-width: 2px; background: var(--bar); border-radius: 2px; }
.bar.path { background: var(--path); } .bar.failed { background: var(--bad); }
svg text { fill: var(--ink); font-size: 12px; } svg rect { fill: var(--line); }
svg path { fill: none; stroke: var(--soft); } svg marker path { fill: var(--soft); stroke: none; }
"""
_TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
    '<path d="M0 0L8 4L0 8z"/></marker></defs>'
)


def page(incident: Incident) -> str:
    """The page, in HTML."""
    sections = (_title, _findings, _steps, _path, _waterfall, _map, _timeline)
    body = "\n".join(line for section in sections for line in section(incident))
    name = _text(incident.incident_id)
    head = f'<meta charset="utf-8"/><meta name="viewport" content="width=device-width"/><title>{name}</title>'
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'


# -- pieces ---------------------------------------------------------------------------------------------------------------


def _text(text: str) -> str:
    return escape(escaped(text))


def _classed(text: str, kind: str) -> str:
    return f'<span class="{kind}">{_text(text)}</span>' if kind else _text(text)


def _row(*cells: str, kind: str = "") -> str:
    """A row of cells that are HTML already."""
    begin = f'<tr class="{kind}">' if kind else "<tr>"
    return begin + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _table(titles: Iterable[str], rows: Iterable[str], most: int = MOST_ROWS) -> Iterator[str]:
    waiting = iter(rows)
    yield '<div class="wide"><table><tr>' + "".join(f"<th>{title}</th>" for title in titles) + "</tr>"
    yield from islice(waiting, most)
    yield "</table></div>"
    if left := sum(1 for _ in waiting):
        yield f'<p class="soft">and {left:,} more: `city incident --json` has all</p>'


def _bar(begin: float, length: float, whole: float, kind: str, title: str = "") -> str:
    left, width = (100 * part / whole if whole > 0 else 0 for part in (begin, length))
    place = f"left:{left:.3f}%;width:{width:.3f}%"
    return f'<div class="lane"><div class="bar {kind}" style="{place}" title="{_text(title)}"></div></div>'


def _moment(at_ns: int) -> str:
    at = datetime.fromtimestamp(at_ns / 1e9, UTC).astimezone()
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"


# -- sections -------------------------------------------------------------------------------------------------------------


def _title(incident: Incident) -> Iterator[str]:
    yield f"<h1>{_text(incident.incident_id)}</h1>"
    yield f"<p>{_classed(numbers(incident), 'soft')}</p>"
    for sentence in incident.missing:
        yield f"<p>{_classed(f'not known: {sentence}', 'missing')}</p>"


def _findings(incident: Incident) -> Iterator[str]:
    found = findings(incident)
    yield "<h2>What to know first</h2>"
    if not found:
        yield '<p class="well">Nothing has failed, nothing waits, nothing was slow.</p>'
        return
    rows = (
        _row(_classed(one.kind, one.kind), _text(one.who), _text(one.text), f"<code>{_text(one.do)}</code>" if one.do else "")
        for one in found
    )
    yield from _table(("", "who", "what", "type next"), rows)


def _steps(incident: Incident) -> Iterator[str]:
    if not incident.steps:
        return
    yield "<h2>Steps of sagas, in city time</h2>"
    for saga in incident.sagas:
        reason = f": {saga.reason}" if saga.reason else ""
        yield f"<p>{_text(f'{saga.saga_id}  {saga.workflow} {saga.workflow_version}{reason}')}</p>"
    first = min(run.began for run in incident.steps)
    last = max(max(run.ended, run.began, 0 if run.ended else incident.now) for run in incident.steps)
    rows = (_step(run, incident.now, first, last) for run in incident.steps)
    yield from _table(("step", "", "", "took", "left of its time"), rows)


def _step(run: StepRun, now: int, first: int, last: int) -> str:
    end = max(run.began, run.ended or now)
    left = run.left(now) if run.ended or now else None
    of_time = "" if left is None else _classed(f"{took(abs(left) / 1000)} {_late(left)}", "late" if left < 0 else "")
    state = "failed" if run.outcome in ("failed", "timed out") else ""
    tries, reason = f", {run.tries} tries" if run.tries > 1 else "", f": {run.reason}" if run.reason else ""
    bar = _bar(run.began - first, end - run.began, last - first, state)
    outcome = _classed(f"{run.outcome}{tries}{reason}", state)
    return _row(_text(run.named), outcome, bar, took((end - run.began) / 1000), of_time)


def _late(left: int) -> str:
    return "left" if left >= 0 else "late"


def _path(incident: Incident) -> Iterator[str]:
    if not incident.path:
        return
    yield f"<h2>Critical path: {took(sum(part.ms for part in incident.path))}</h2>"
    rows = (
        _row(
            took(part.ms), _text(part.span.service),
            _classed("pause before what follows", "soft") if part.pause else _text(called(part.span)),
        )
        for part in sorted(incident.path, key=lambda part: -part.ms)
    )  # fmt: skip
    yield from _table(("took", "service", "what"), rows, most=_PATH_ROWS)


def _waterfall(incident: Incident) -> Iterator[str]:
    if not incident.spans:
        return
    first = min(span.start_ns for span in incident.spans)
    whole = max(span.end_ns for span in incident.spans) - first
    path = {id(part.span) for part in incident.path if not part.pause}
    yield '<h2>Calls and work; <span class="slow">the critical path</span></h2>'
    rows = (_span(node.span, depth, first, whole, on_path=id(node.span) in path) for node, depth in _deep(incident.roots))
    yield from _table(("service", "what", "", "took"), rows)


def _deep(roots: Iterable[Node]) -> Iterator[tuple[Node, int]]:
    waiting = [(root, 0) for root in roots][::-1]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        waiting += [(child, depth + 1) for child in node.children][::-1]


def _span(span: Span, depth: int, first: int, whole: int, *, on_path: bool) -> str:
    failed = span.status == "error"
    after = took((span.start_ns - first) / 1e6)
    bar = _bar(
        span.start_ns - first, span.end_ns - span.start_ns, whole, "failed" if failed else "path" if on_path else "",
        f"{called(span)} +{after} {span.status_message}",
    )  # fmt: skip
    service = f'<span style="padding-left:{min(depth, 20) * 0.7:.1f}rem">{_text(span.service)}</span>'
    what = _text(called(span)) + (" " + _classed(span.status_message or "error", "failed") if failed else "")
    return _row(service, what, bar, took(span.duration_ms))


def _map(incident: Incident) -> Iterator[str]:
    if not incident.causes:
        return
    yield "<h2>Which service wrote what, because of what</h2>"
    arrows: dict[tuple[str, str], int] = {}
    for one in incident.causes:
        key = (one.from_service, one.to_service)
        arrows[key] = arrows.get(key, 0) + one.count
    yield from _drawn(list(dict.fromkeys(name for pair in arrows for name in pair)), arrows)
    rows = (
        _row(_text(one.from_service), _text(one.from_type), f"→ {_text(one.to_service)}", _text(one.to_type), str(one.count))
        for one in incident.causes
    )
    yield from _table(("of", "event", "led to", "event", "times"), rows)


def _drawn(services: list[str], arrows: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """A service a line; an arc to the right for what leads on, thicker for more."""
    at = {name: _ROW_H * (number + 1) for number, name in enumerate(services)}
    height = _ROW_H * (len(services) + 1)
    yield f'<svg viewBox="0 0 {_MAP_W} {height}" width="{_MAP_W}" height="{height}" role="img">{_TIP}'
    for name in services:
        yield f'<rect x="8" y="{at[name] - 14}" width="{_NODE_W - 16}" height="24" rx="5"/>'
        yield f'<text x="18" y="{at[name] + 3}">{_text(name)}</text>'
    for (begin, end), count in arrows.items():
        y, z, x = at[begin] - 3, at[end] + 3, _NODE_W - 7
        reach = _NODE_W + 50 + 28 * abs(services.index(begin) - services.index(end))
        width = 1 + min(4.0, count / 4)
        yield f'<path d="M{x} {y}C{reach} {y} {reach} {z} {x} {z}" stroke-width="{width:.1f}" marker-end="url(#tip)">'
        yield f"<title>{_text(f'{begin} → {end}: {count}')}</title></path>"
        yield f'<text x="{_NODE_W + 0.75 * (reach - _NODE_W):.0f}" y="{(y + z) / 2 + 4:.0f}">{count}</text>'
    yield "</svg>"


def _timeline(incident: Incident) -> Iterator[str]:
    yield "<h2>Timeline over all departments</h2>"
    rows = (
        _row(_classed(_moment(one.at_ns), "soft"), one.kind, _text(one.service), _text(one.text), kind=one.state)
        for one in timeline(incident)
    )
    yield from _table(("when", "", "service", "what"), rows)
