"""An incident on a terminal: what to do first, then where it stands, then what happened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from rich.text import Text

from citybrain.cli import saga_view
from citybrain.cli.incident.story import Incident, Moment, called, findings, numbers, timeline, took
from citybrain.observability.terminal import escaped

_STYLES = {"failed": "red", "waits": "yellow", "slow": "magenta", "missing": "yellow"}
_MARKS = {"failed": "✗", "waits": "…", "slow": "~", "missing": "?"}
SHOWN_PATH = 12
"""So many parts of the critical path, the longest ones."""


def shown(incident: Incident, *, whole: bool = False) -> Iterator[Text | object]:
    """`whole`: every line of the timeline; else calls only where something is odd about them."""
    yield _title(incident)
    for sentence in incident.missing:
        yield Text(escaped(f"? not known: {sentence}"), "yellow")
    yield from _findings(incident)
    for saga in incident.sagas:
        yield Text()
        yield saga_view.drawn(saga)
    yield from _deadlines(incident)
    yield from _path(incident)
    yield from _causes(incident)
    yield from _timeline(incident, whole=whole)


def _title(incident: Incident) -> Text:
    return Text.assemble((escaped(incident.incident_id), "bold"), f"  {numbers(incident)}")


def _findings(incident: Incident) -> Iterator[Text]:
    found = findings(incident)
    yield Text()
    if not found:
        yield Text("✓ nothing has failed, nothing waits, nothing was slow", "green")
    for one in found:
        yield Text.assemble((f"{_MARKS[one.kind]} {one.kind}", _STYLES[one.kind]), escaped(f"  {one.who}  {one.text}"))
        if one.do:
            yield Text(escaped(f"    {one.do}"), "cyan")


def _deadlines(incident: Incident) -> Iterator[Text]:
    known = [run for run in incident.steps if run.ended or incident.now]
    rows = [(run, left) for run in known if (left := run.left(incident.now)) is not None]
    if rows:
        yield Text("\ndeadlines", "bold")
    for run, left in rows:
        of_time = f"{took(abs(left) / 1000)} {'left' if left >= 0 else 'late'}"
        tries = f"  {run.tries} tries" if run.tries > 1 else ""
        yield Text(escaped(f"  {run.named}  {run.outcome}  {of_time}{tries}"), "" if left >= 0 else "red")


def _path(incident: Incident) -> Iterator[Text]:
    if not incident.path:
        return
    total = sum(part.ms for part in incident.path)
    pauses = sum(part.ms for part in incident.path if part.pause)
    yield Text(f"\ncritical path  {took(total)}, of which nothing worked in {took(pauses)}", "bold")
    longest = sorted(incident.path, key=lambda part: -part.ms)[:SHOWN_PATH]
    for part in incident.path:
        if part in longest:
            what = "pause before what follows" if part.pause else called(part.span)
            yield Text(escaped(f"  {took(part.ms):>9}  {part.span.service}  {what}"), "dim" if part.pause else "")


def _causes(incident: Incident) -> Iterator[Text]:
    if incident.causes:
        yield Text("\nbecause of", "bold")
    for one in incident.causes:
        times = f" × {one.count}" if one.count > 1 else ""
        yield Text(escaped(f"  {one.from_service} {one.from_type} → {one.to_service} {one.to_type}{times}"))


def _timeline(incident: Incident, *, whole: bool) -> Iterator[Text]:
    moments = [one for one in timeline(incident) if whole or one.kind != "call" or one.state]
    if not moments:
        return
    yield Text("\ntimeline" + ("" if whole else " (calls only where something is odd; --all has each)"), "bold")
    yield from map(_line, moments)


def _line(one: Moment) -> Text:
    at = datetime.fromtimestamp(one.at_ns / 1e9, UTC).astimezone()
    mark = _MARKS.get(one.state, " ")
    text = f"{at:%H:%M:%S}.{at.microsecond // 1000:03}  {mark} {one.kind:<15} {one.service}  {one.text}"
    return Text(escaped(text), _STYLES.get(one.state, "dim" if one.kind == "call" else ""))
