"""Trees of spans: for tests, for programs, for people."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.table import Table
from rich.text import Text

from citybrain.observability.console import Terminal
from citybrain.observability.spans import Link, Span
from citybrain.observability.trace_tree import Edge, as_json, build, collapse, edges, render
from tests.unit.observability.test_logs import TURNS_WRITING


def span(number: int, parent: int | None, name: str, service: str = "health", **others: object) -> Span:
    parent_id = "" if parent is None else str(parent)
    return Span("t1", str(number), parent_id, service, name, "internal", number * 10**6, number * 10**6 + 2 * 10**6, **others)  # type: ignore[arg-type]


def text(spans: list[Span], width: int = 200) -> str:
    console = Terminal(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(render(build(spans), "inc-1"))
    return console.export_text()


SPANS = [
    span(3, 2, "grant", "traffic", status="error", status_message="no [signal]"),
    span(1, None, "report", "emergency_command"),
    span(2, 1, "/citybrain.health.v1.HealthService/ReserveBed"),
    span(4, 99, "late", "district_hub", links=(Link("t1", "2"), Link("t8", "1"))),
]


def test_the_tree() -> None:
    first, orphan = build(SPANS)
    assert (first.span.name, first.parent_missing) == ("report", False)
    assert [child.span.name for child in first.children] == ["/citybrain.health.v1.HealthService/ReserveBed"]
    assert [child.span.name for child in first.children[0].children] == ["grant"]
    assert (orphan.span.name, orphan.parent_missing) == ("late", True)


def test_edges() -> None:
    assert edges(SPANS) == {
        Edge("emergency_command", "report", "health", "/citybrain.health.v1.HealthService/ReserveBed"),
        Edge("health", "/citybrain.health.v1.HealthService/ReserveBed", "traffic", "grant"),
    }


def test_json() -> None:
    first, orphan = json.loads(json.dumps(as_json(build(SPANS))))
    assert first["children"][0]["children"][0]["statusMessage"] == "no [signal]"
    assert first["children"][0]["startedAfterMs"] == 1.0
    assert first["durationMs"] == 2.0
    assert orphan["parentMissing"]
    assert orphan["links"][0] == {"traceId": "t1", "spanId": "2"}


def test_what_people_see() -> None:
    shown = text(SPANS)
    assert "inc-1 · 1 trace · 4 spans" in shown
    assert "traffic grant" in shown
    assert "error: no [signal]" in shown
    assert "parent not recorded here" in shown
    assert "because of health HealthService/ReserveBed" in shown
    assert "because of trace t8" in shown


def test_what_repeats_is_shown_once() -> None:
    many = [span(10 + number, 1, "handle", "traffic") for number in range(0, 240, 2)]
    below = [span(11 + number, 10 + number, "append", "traffic") for number in range(0, 240, 2)]
    other = [span(12, 1, "step"), span(1, None, "report"), span(14, 1, "handle", "traffic", status="error")]
    unlike = [found for found in many if found.span_id not in ("12", "14")]
    spans = [*unlike, *[found for found in below if found.parent_span_id not in ("12", "14")], *other]
    (root,) = build(spans)
    groups = collapse(root.children)
    assert [(group.node.span.name, group.count) for group in groups] == [("handle", 118), ("step", 1), ("handle", 1)]
    assert "×118" in text(spans)
    assert "236.0ms in all" in text(spans)


@pytest.mark.parametrize("width", range(50, 120, 7))
def test_however_narrow_the_terminal_is_a_number_stays_with_its_unit(width: int) -> None:
    below = [span(number, number - 1, "handle something with a name", "traffic") for number in range(2, 8)]
    shown = text([span(1, None, "report"), *below, *(span(20 + n, 7, "append") for n in range(9))], width)
    # The first line of the tree, and then each number with what belongs to it.
    found = re.findall(r"(\+?\d+\.\d+)(\w*)", "".join(shown.splitlines(keepends=True)[2:]))
    assert len(found) >= 15
    assert {unit for number, unit in found if number.startswith("+")} == {"ms"}
    assert not re.search(r"×\s", shown)


def test_people_see_when_it_was_by_their_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        start = int(datetime(2026, 3, 1, 23, 59, 58, 123000, tzinfo=UTC).timestamp() * 1e9)
        shown = text([Span("t1", "1", "", "health", "report", "internal", start, start + 10**9)])
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "since 2026-03-02 07:59:58 +0800" in shown
    assert "07:59:58.123  health report" in shown


def test_nothing() -> None:
    assert build([]) == []
    assert "0 spans" in text([])


def test_what_others_wrote_is_no_command_to_the_terminal_and_no_line_of_its_own() -> None:
    title, name, why = "inc-\x1b]0;x\x07", "read\x9b2J", "no\n└── traffic granted\u202e"
    wrote = StringIO()
    Terminal(width=200, file=wrote).print(render(build([span(1, None, name, status="error", status_message=why)]), title))
    assert len(wrote.getvalue().splitlines()) == 2
    for escape in ("\\u001b]0;x\\u0007", "read\\u009b2J", "no\\u000a└── traffic granted\\u202e"):
        assert escape in wrote.getvalue()


CONTROLS = [chr(code) for code in range(0xA0) if not chr(code).isprintable()]


@pytest.mark.parametrize("control", [*CONTROLS, *TURNS_WRITING], ids=ascii)
def test_no_control_character_reaches_a_terminal_whatever_is_printed(control: str) -> None:
    wrote = StringIO()
    console = Terminal(width=200, file=wrote, force_terminal=True, highlight=False)
    table = Table("a")
    table.add_row(f"x{control}y")
    for printed in (
        f"[bold]x{control}y[/]",
        table,
        json.dumps({"x": f"x{control}y"}, ensure_ascii=False),
        Text(f"x{control}y"),
    ):
        console.print(printed)
    colours = re.compile(r"\x1b\[[0-9;]*m")
    left = {letter for letter in colours.sub("", wrote.getvalue()) if not letter.isprintable()}
    assert left == {"\n"}
