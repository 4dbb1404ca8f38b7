"""Log lines of an incident, from files that are begun anew when they are full."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from citybrain.cli.incident import log_lines
from citybrain.cli.incident.log_lines import files, lines_of
from citybrain.local.problems import Problem
from tests.unit.incident.made import INCIDENT, TRACE, line


def test_lines_of_the_incident_and_of_its_traces_are_found_in_every_file_in_the_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "mesh.log.1").write_text(
        line(time="2026-01-05T07:59:00Z", message="first", version="0.1", beds=3), encoding="utf-8"
    )
    (tmp_path / "mesh.log").write_text(
        line(message="second", level="error", why="x" * 300)
        + line(message="of another", incident_id="inc-12")
        + line(message="names it", incident_id="inc-2", other=INCIDENT)
        + "no JSON, though it names inc-1\n"
        + '{"message": "without a time", "incident_id": "inc-1"}\n',
        encoding="utf-8",
    )
    access = (
        '{"time": "2026-01-05T08:00:01Z", "trace_id": "%s", "http_method": "POST", "path": "/v1/incidents", "status": 200}\n'
    )
    (tmp_path / "access.log").write_text(access % TRACE + access % ("b" * 32), encoding="utf-8")
    found, cut = lines_of(INCIDENT, {TRACE}, files(tmp_path))
    assert [(one.service, one.message) for one in found] == [
        ("health", "first"), ("health", "second"), ("gateway", "POST /v1/incidents"),
    ]  # fmt: skip
    assert not cut and found[1].level == "error" and len(found[1].more) < 220
    assert (found[0].more, found[2].more) == ("beds=3", "status=200")


def test_of_very_many_lines_the_newest_are_kept_and_that_is_told(tmp_path: Path) -> None:
    text = "".join(line(time=f"2026-01-05T08:00:0{n}Z", message=str(n)) for n in range(6))
    (tmp_path / "mesh.log").write_text(text, encoding="utf-8")
    found, cut = lines_of(INCIDENT, (), files(tmp_path), most=4)
    assert [one.message for one in found] == ["2", "3", "4", "5"] and cut
    assert lines_of(INCIDENT, (), files(tmp_path), most=6)[1] is False


def test_without_files_there_are_no_lines(tmp_path: Path) -> None:
    assert lines_of(INCIDENT, (), files(tmp_path / "missing")) == ([], False)


def test_lines_of_many_pods_one_after_the_other_come_from_a_pipe_and_the_newest_of_all_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def at(second: int, pod: str) -> str:
        return f"[pod/{pod}/{pod}] 2026-01-05T08:00:09Z " + line(time=f"2026-01-05T08:00:0{second}Z", message=f"{pod} {second}")

    said = [at(second, pod) for pod in ("health-0", "traffic-0") for second in (1, 2, 3)]
    text = "".join(["no JSON of inc-1\n", *said, "no JSON { inc-1\n"]).encode() + b"\xff inc-1\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    found, cut = lines_of(INCIDENT, (), [Path("-")], most=4)
    assert [one.message for one in found] == ["health-0 2", "traffic-0 2", "health-0 3", "traffic-0 3"] and cut


@pytest.mark.parametrize("size", [1, 100, 151, 1 << 20])
def test_no_line_is_lost_or_told_twice_wherever_a_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(log_lines, "_BLOCK", size)
    said = [line(message=str(n), trace_id=TRACE if n % 2 else "b" * 32) for n in range(6)] + [line(incident_id="inc-2")]
    lone = f'{{"time": "2026-01-05T08:00:01Z","trace_id":"{TRACE}","path":"/last"}}'
    (tmp_path / "mesh.log").write_text("".join(said) + lone, encoding="utf-8")
    found, _ = lines_of(INCIDENT, {TRACE}, files(tmp_path))
    assert [one.message for one in found] == ["0", "1", "2", "3", "4", "5", "None /last"]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="missing cannot be read: No such file or directory: name a file of log lines, or -"):
        lines_of(INCIDENT, (), [tmp_path / "missing"])
