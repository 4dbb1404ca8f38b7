"""Log lines as a program reads them."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

import pytest
from opentelemetry import context as otel_context

from citybrain.observability import names
from citybrain.observability.logs import LibraryLines, configure, logger
from citybrain.observability.tracing import Tracing, context_from


def test_a_line_says_where_it_belongs(capsys: pytest.CaptureFixture[str]) -> None:
    tracing = Tracing()
    token = otel_context.attach(context_from("", {names.INCIDENT_ID: "inc-1"}))
    with tracing.tracer("health").start_as_current_span("reserve") as span:
        logger("health").info("没有空闲救护车", asked=3, odd={1})
        at = span.get_span_context()
    otel_context.detach(token)
    tracing.shutdown()
    said = capsys.readouterr().err
    assert "没有空闲救护车" in said
    line = json.loads(said)
    assert datetime.fromisoformat(line.pop("time")).tzinfo == UTC
    assert line == {
        "level": "info", "service": "health", "message": "没有空闲救护车", "asked": 3, "odd": "{1}",
        "trace_id": f"{at.trace_id:032x}", "span_id": f"{at.span_id:016x}", "incident_id": "inc-1",
    }  # fmt: skip


def test_outside_of_any_work_there_are_no_ids(capsys: pytest.CaptureFixture[str]) -> None:
    logger("runner").warning("alone")
    line = json.loads(capsys.readouterr().err)
    assert set(line) == {"time", "level", "service", "message"}


def test_an_exception_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        logger("health").error("failed", exc_info=error)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "ValueError: two" in json.loads(said)["exception"]


def test_quiet_below_its_level(capsys: pytest.CaptureFixture[str]) -> None:
    logger("health").debug("nothing")
    assert capsys.readouterr().err == ""


def test_lines_of_libraries_have_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    logger("health")
    record = logging.LogRecord("some.library", logging.WARNING, __file__, 1, "slow: %s", ("very",), None)
    LibraryLines().emit(record)
    line = json.loads(capsys.readouterr().err)
    assert (line["service"], line["level"], line["message"]) == ("some.library", "warning", "slow: very")


@pytest.mark.parametrize("pretty", [False, True])
def test_what_others_wrote_is_no_command_to_the_terminal_that_shows_the_log(
    capsys: pytest.CaptureFixture[str], pretty: bool
) -> None:
    evil = "a\x1b[2J\x9b2Jb\u202e\r\x08"
    configure(pretty=pretty)
    try:
        try:
            raise ValueError(evil)
        except ValueError as error:
            logger(evil).error(evil, asked=evil, several=[evil], why=error, exc_info=error, **{evil: 1})
    finally:
        configure()
    said = capsys.readouterr().err
    assert {letter for letter in said if not letter.isprintable()} == {"\n"}
    assert said.count("\\u001b[2J\\u009b2Jb\\u202e") >= 4
    if not pretty:
        assert json.loads(said)["message"] == evil
