"""Log lines as a program reads them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.error import URLError

import pytest
from citybrain.safety.v1.safety_service_pb2 import Contact
from opentelemetry import context as otel_context

from citybrain.event_store.store import StoreError
from citybrain.mesh.errors import Refused, Unavailable
from citybrain.observability import failures, names
from citybrain.observability.logs import LibraryLines, LogFile, configure, logger, set_level
from citybrain.observability.tracing import Tracing, context_from
from tests.helpers.telemetry import listening


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
        "level": "info", "service": "health", "message": "没有空闲救护车", "asked": 3, "odd": [1],
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
    line = json.loads(said)
    assert line["error"] == "ValueError" and line["exception"].endswith("ValueError")
    assert "in test_an_exception_is_one_line" in line["exception"]


def test_of_an_error_its_text_stays_out_and_of_those_that_it_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    phone = "139" + "0" * 8
    try:
        try:
            int(f"{phone}?")
        except ValueError as error:
            raise KeyError(phone) from error
    except KeyError as error:
        group = ExceptionGroup(phone, [error, Refused(f"not {len(phone)}")])
        logger("health").error("failed", exc_info=error)
        logger("health").error("failed", error=error, errors=[error], more={"why": error})
        logger("health").error("failed", error=group)
        logger("health").error("failed", exc_info=True)
    LibraryLines().emit(
        logging.LogRecord("asyncio", logging.ERROR, __file__, 1, f"not retrieved\n<{phone}>", (), _raised(phone))
    )
    said = capsys.readouterr().err
    assert phone not in said
    first, second, third, fourth, fifth = (json.loads(line) for line in said.splitlines())
    assert first["exception"].index("ValueError") < first["exception"].index("KeyError")
    assert (second["error"], second["errors"], second["more"]) == ("KeyError", ["KeyError"], {"why": "KeyError"})
    assert third["error"] == "ExceptionGroup of KeyError, Refused: FAILED_PRECONDITION REFUSED"
    assert fourth["error"] == "KeyError"
    assert (fifth["message"], fifth["error"]) == ("not retrieved", "ValueError")


def _raised(text: str) -> tuple[type[BaseException], BaseException, None]:
    return ValueError, ValueError(text), None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "OSError: No space left on device"),
        (URLError(ConnectionRefusedError(111, "Connection refused")), "URLError: Connection refused"),
        (Unavailable("the radio of Wang is away", "RADIO"), "Unavailable: UNAVAILABLE RADIO"),
        (StoreError("no leader of a partition"), "StoreError: no leader of a partition"),
        (RuntimeError("of whatever"), "RuntimeError"),
    ],
)
def test_the_text_of_an_error_that_is_written_for_logs_stands_there(error: Exception, told: str) -> None:
    assert failures.told(error) == told


def test_of_an_object_in_a_line_only_its_class_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    message = Contact(name="王小明", phone="13900000000")
    logger("health").info("failed", asked=message, several=[message], when=date(2026, 1, 5), file=Path("a/b"))
    line = json.loads(capsys.readouterr().err)
    assert (line["asked"], line["several"], line["when"], line["file"]) == ("Contact", ["Contact"], "2026-01-05", "a/b")


def test_quiet_below_its_level(capsys: pytest.CaptureFixture[str]) -> None:
    logger("health").debug("nothing")
    assert capsys.readouterr().err == ""


def test_lines_of_libraries_have_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    logger("health")
    record = logging.LogRecord("some.library", logging.WARNING, __file__, 1, "slow: %s", ("very",), None)
    LibraryLines().emit(record)
    line = json.loads(capsys.readouterr().err)
    assert (line["service"], line["level"], line["message"]) == ("some.library", "warning", "slow: very")


# Marks, breaks, embeddings and isolates.
TURNS_WRITING = "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize("pretty", [False, True])
def test_what_others_wrote_is_no_command_to_the_terminal_that_shows_the_log(
    capsys: pytest.CaptureFixture[str], pretty: bool
) -> None:
    evil = "a\x1b[2J\x9b2Jb\u202e\r\x08" + TURNS_WRITING
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


def test_a_file_of_lines_grows_no_further_than_was_said_and_the_newest_are_kept(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "mesh.log", 1 / 1024, 2)
    for number in range(500):
        log.write(f"line {number}")
    log.close()
    files = [tmp_path / "mesh.log.2", tmp_path / "mesh.log.1", tmp_path / "mesh.log"]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(file.stat().st_size <= 1024 for file in files)
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert lines == [f"line {number}" for number in range(500 - len(lines), 500)]


TELLS = """
import os, sys
from pathlib import Path
from citybrain.observability.logs import LogFile, configure, logger
file = LogFile(Path(sys.argv[1]), 1 / 1024, 1, takes_stderr=True)
configure(file=file)
for number in range(50):
    logger("mesh").info("something", number=number)
os.write(2, b"what a library in C says\\n")
raise SystemExit("what it says last")
"""


def test_what_a_process_says_last_is_in_the_newest_file_also_after_it_was_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "mesh.log"
    with file.open("a", encoding="utf-8") as first:
        done = subprocess.run([sys.executable, "-c", TELLS, str(file)], stderr=first, check=False)
    assert done.returncode == 1
    assert (tmp_path / "mesh.log.1").is_file()
    assert file.read_text(encoding="utf-8").splitlines()[-2:] == ["what a library in C says", "what it says last"]
    assert file.stat().st_size < 2048


def test_half_a_letter_costs_no_line(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "mesh.log", 1, 1)
    log.write("asked for \ud800")
    log.close()
    assert (tmp_path / "mesh.log").read_text(encoding="utf-8") == "asked for \\ud800\n"


def test_a_disk_that_is_full_ends_nobody_who_writes_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = LogFile(tmp_path / "mesh.log", 1, 1)
    assert log.stream is not None
    log.stream.close()
    log.stream = open("/dev/full", "a", encoding="utf-8")  # noqa: SIM115, PTH123
    log.write("lost")
    assert capsys.readouterr().err == ""


def test_levels_change_while_a_process_runs(capsys: pytest.CaptureFixture[str]) -> None:
    before = set_level("debug")
    try:
        logger("health").debug("now it is written")
        assert (before, set_level("error")) == ("info", "debug")
        logger("health").warning("not now")
        logging.getLogger("some.library").warning("nor this")
    finally:
        set_level(before)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == ["now it is written"]


def test_lines_for_programs_name_the_version_and_those_for_people_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        for pretty in (False, True):
            configure(version="1.2.3", pretty=pretty)
            logger("health").info("served")
    finally:
        configure()
    machine, people = capsys.readouterr().err.splitlines()
    assert json.loads(machine)["version"] == "1.2.3"
    assert "1.2.3" not in people


def test_who_has_said_something_before_is_heard_by_those_who_listen_after_another_configuration() -> None:
    early = logger("early")
    early.info("first")
    configure()
    with listening() as heard:
        early.info("second")
    assert [line["message"] for line in heard.lines] == ["second"]
