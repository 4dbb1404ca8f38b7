"""`city audit` on a city's files: what callers did, and whether somebody changed that."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from citybrain.cli.audit import app
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.local.problems import Problem
from citybrain.mesh.audit.entries import Entry
from citybrain.mesh.audit.trail import ChainedTrail
from citybrain.mesh.storage.embedded import EVENTS

SERVICE = "citybrain.health.v1.HealthService"
WANG = Entry(subject="wang", team="health", method=f"{SERVICE}/ReserveBed", persons=("per-1", "per-2"), request_id="r1")
LI = Entry(subject="li", on_behalf_of="zhao", method=f"{SERVICE}/ListBeds", allowed=False, code="PERMISSION_DENIED")
# In microseconds since 1970: two days.
MONDAY, TUESDAY = 1_767_600_000_000_000, 1_767_686_400_000_000


def city(audit: Path, days: Sequence[int] = (MONDAY, TUESDAY)) -> Path:
    """The data folder of a city in which two callers did something on each day."""

    async def write() -> None:
        store = SqliteEventStore(audit / EVENTS)
        for day in days:
            trail = ChainedTrail(store, lambda: 1, now=lambda day=day: day)  # type: ignore[misc]
            for number in range(3):
                await trail.keep(replace(WANG, request_id=f"r{number}"))
            trail.note(LI)
            await trail.close()
        store.close()

    audit.mkdir(parents=True, exist_ok=True)
    asyncio.run(write())
    return audit


def run(command: str, data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [command, "--data", str(data), *arguments])


def listed(data: Path, *arguments: str) -> list[dict[str, Any]]:
    done = run("list", data, "--json", *arguments)
    assert done.exit_code == 0, done.exception
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def remove(data: Path, subject: str) -> None:
    """Removes the last batch in which a caller is, as somebody who may write to the file."""
    with sqlite3.connect(data / EVENTS) as database:
        sql = "SELECT max(position) FROM events WHERE stream LIKE 'audit/%' AND instr(data, ?)"
        (position,) = database.execute(sql, (subject.encode(),)).fetchone()
        database.execute("DELETE FROM events WHERE position = ?", (position,))
        database.execute("DELETE FROM places WHERE position = ?", (position,))


def test_a_trail_that_nobody_touched_is_sound(tmp_path: Path) -> None:
    done = run("verify", city(tmp_path / "data"))
    assert (done.exit_code, done.stdout) == (0, "2 chains, 8 batches, 8 records: sound\n")


def test_what_was_removed_is_named_with_its_chain_and_its_number(tmp_path: Path) -> None:
    data = city(tmp_path / "data")
    remove(data, "wang")
    done = run("verify", data)
    assert done.exit_code == 1
    assert "-20260106: batch 3 was removed: " in done.stdout and "2 chains, 8 batches, 7 records: 1 finding" in done.stdout
    report = json.loads(run("verify", data, "--json").stdout)
    (found,) = report["findings"]
    assert not report["sound"] and (found["first"], found["last"], found["what"]) == (3, 3, "removed")
    assert run("verify", data, "--since", "2026-01-07").exit_code == 0


def test_a_trail_that_was_written_anew_as_a_whole_does_not_fit_an_earlier_report(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text(run("verify", city(tmp_path / "data"), "--json").stdout, encoding="utf-8")
    assert run("verify", tmp_path / "data", "--against", str(report)).exit_code == 0
    anew = city(tmp_path / "anew")
    assert run("verify", anew).exit_code == 0
    assert run("verify", anew, "--against", str(report)).exit_code == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"chains": {"a": {"batches": "x"}}}'])
def test_what_is_no_report_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "report").write_text(content, encoding="utf-8")
    done = run("verify", city(tmp_path / "data"), "--against", str(tmp_path / "report"))
    assert isinstance(done.exception, Problem) and "is no report" in str(done.exception)
    missing = run("verify", tmp_path / "data", "--against", str(tmp_path / "nowhere"))
    assert isinstance(missing.exception, Problem) and "cannot be read" in str(missing.exception)


def test_records_are_listed_for_people_the_newest_last(tmp_path: Path) -> None:
    lines = run("list", city(tmp_path / "data"), "--limit", "2").stdout.splitlines()
    assert lines == [
        "2026-01-06T08:00:00.000+00:00  allowed OK  wang (health)  health/ReserveBed about per-1, per-2  request r2",
        "2026-01-06T08:00:00.000+00:00  refused PERMISSION_DENIED  li for zhao  health/ListBeds  request -",
    ]


@pytest.mark.parametrize(
    ("asked", "number"),
    [
        ([], 8), (["--subject", "wang"], 6), (["--subject", "zhao"], 2), (["--subject", "wan"], 0),
        (["--method", "ReserveBed"], 6), (["--method", "HealthService/ReserveBed"], 6), (["--method", "Bed"], 0),
        (["--method", f"{SERVICE}/ListBeds"], 2), (["--person", "per-2"], 6), (["--person", "per"], 0),
        (["--refused"], 2), (["--refused", "--subject", "wang"], 0), (["--since", "2100-01-01"], 0),
        (["--since", "2020-01-01"], 8), (["--limit", "3"], 3),
    ],
)  # fmt: skip
def test_only_the_records_that_are_asked_for_are_listed(asked: list[str], number: int, tmp_path: Path) -> None:
    assert len(listed(city(tmp_path / "data"), *asked)) == number


def test_a_record_says_in_which_batch_it_is(tmp_path: Path) -> None:
    first = listed(city(tmp_path / "data"))[0]
    assert first["chain"].endswith("-20260105") and first["batch"] == 1
    assert (first["subject"], first["person_ids"]) == ("wang", ["per-1", "per-2"])


def test_where_there_is_no_city_nothing_is_made(tmp_path: Path) -> None:
    for command in ("verify", "list"):
        done = run(command, tmp_path / "nowhere")
        assert isinstance(done.exception, Problem) and "there are no events" in str(done.exception)
    assert not (tmp_path / "nowhere").exists()
    wrong = run("list", city(tmp_path / "data"), "--since", "yesterday")
    assert isinstance(wrong.exception, Problem) and "yesterday is no time" in str(wrong.exception)
