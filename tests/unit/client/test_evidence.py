"""The evidence of a case, verified by who has the file alone: whatever was done to it is found, and named by its record."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from citybrain.cli.evidence import app
from citybrain.client import evidence
from citybrain.client.evidence import BEGINNING, main, told, verify
from citybrain.local.problems import Problem
from citybrain.services.environment import sealed_chain

BODIES: list[dict[str, Any]] = [
    {"station": "s1", "value": 612.5, "unit": "µg/m³"},
    {"trace": "dye-7 explains it", "residual": 0.07},
    {"finding": '滤袋破损 "torn"\n', "found": True, "parts": [1, None, {"b": 2, "a": 1}]},
    {},
    {"decision": "sanction"},
]


def chain(bodies: list[dict[str, Any]] = BODIES) -> list[bytes]:
    """The lines of a chain as environment makes them."""
    lines, last = [], None
    for number, body in enumerate(bodies, 1):
        last = sealed_chain.following(last, f"2026-11-30T11:{number:02}:00Z", "readings", body)
        lines.append(sealed_chain.line(last).encode() + b"\n")
    return lines


LINES = chain()
HEAD = json.loads(LINES[-1])["seal"]


def found(lines: list[bytes], head: str = "") -> list[tuple[int, str]]:
    """Records and what is wrong with them."""
    return [(one.n, one.what) for one in verify(lines, head).findings]


def test_the_seal_is_sm3_as_its_standard_has_it_and_a_chain_begins_with_zeros() -> None:
    """GM/T 0004-2012, annex A, examples 1 and 2."""
    assert evidence._sm3(b"abc") == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
    assert evidence._sm3(b"abcd" * 16) == "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"
    assert json.loads(LINES[0])["previous"] == BEGINNING


def test_where_openssl_has_no_sm3_another_library_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashlib.algorithms_available", frozenset({"sha256"}))
    assert verify(LINES).sound


def test_what_nobody_has_touched_is_sound_with_the_head_and_without() -> None:
    report = verify(LINES, HEAD)
    assert (report.sound, report.records, report.head, report.head_at) == (True, 5, HEAD, 5)
    assert "the head that is known is the seal of record 5" in told(report)
    assert "no head was given" in told(verify(LINES))
    # It has grown since the head was told.
    assert verify(LINES, json.loads(LINES[2])["seal"]).head_at == 3
    # The last line may have no end.
    assert verify([*LINES[:-1], LINES[-1].rstrip()]).sound


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(LINES) - 1), st.data())
def test_every_changed_byte_is_found_in_its_record(which: int, data: st.DataObject) -> None:
    line = bytearray(LINES[which].rstrip(b"\n"))
    place = data.draw(st.integers(0, len(line) - 1))
    # A new end of line makes two lines of one.
    line[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte not in (line[place], 10)))
    changed = [*LINES[:which], bytes(line) + b"\n", *LINES[which + 1 :]]
    report = verify(changed, HEAD)
    assert not report.sound
    assert which + 1 in {one.n for one in report.findings} or which + 1 in {one.line for one in report.findings}


def test_a_record_that_was_changed_together_with_its_seal_is_found_by_the_next_one() -> None:
    forged = sealed_chain.following(None, "2026-11-30T11:01:00Z", "readings", {"station": "s1", "value": 12})
    lines = [sealed_chain.line(forged).encode() + b"\n", *LINES[1:]]
    assert found(lines) == [(2, "replaced")]


@pytest.mark.parametrize("which", range(1, 5))
def test_a_record_that_was_removed_is_named(which: int) -> None:
    assert found(LINES[: which - 1] + LINES[which:]) == [(which, "missing")]


def test_several_that_were_removed_are_all_named() -> None:
    assert found([LINES[0], LINES[4]]) == [(2, "missing"), (3, "missing"), (4, "missing")]


def test_records_that_changed_places_are_named() -> None:
    assert found([LINES[0], LINES[2], LINES[1], *LINES[3:]]) == [(2, "moved")]
    assert found(LINES[::-1]) == [(1, "moved"), (2, "moved"), (3, "moved"), (4, "moved")]


def test_one_that_stands_twice_is_named() -> None:
    assert found([*LINES[:2], LINES[1], *LINES[2:]]) == [(2, "repeated")]


def test_an_end_that_was_cut_off_shows_with_the_head_alone() -> None:
    assert found(LINES[:-1]) == []
    assert found(LINES[:-1], HEAD) == [(4, "cut off")]
    assert found([], HEAD) == [(0, "cut off"), (1, "missing")]


def test_a_chain_that_was_made_anew_as_a_whole_shows_with_the_head_alone() -> None:
    anew = chain([{"station": "s1", "value": 12}, *BODIES[1:]])
    assert found(anew) == []
    assert found(anew, HEAD) == [(5, "cut off")]


def test_a_chain_whose_beginning_is_cut_off_does_not_begin_with_one() -> None:
    first = json.loads(LINES[1])
    first["n"] = 1
    first["seal"] = sealed_chain.seal_of(1, first["at"], first["kind"], first["body"], first["previous"])
    assert (1, "replaced") in found([sealed_chain.canonical(first).encode()])


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\xff\xfe", b"[]", b"{}", b"nonsense", b'{"n":1}', LINES[0].replace(b'"n":1', b'"n":true'),
        LINES[0].replace(b'"n":1', b'"n":0'), LINES[0].replace(b"612.5", b"NaN"), LINES[0].replace(b'"n":1', b'"n":1,"x":2'),
        b"[" * 100_000, LINES[0].replace(b'"readings"', b"7"), LINES[0].replace(b'"s1"', b'"\\ud800"'),
    ],
)  # fmt: skip
def test_a_line_that_is_no_record_is_named_where_it_stands(line: bytes) -> None:
    (finding, *more) = verify([line, *LINES[1:]]).findings
    assert (finding.n, finding.line, finding.what) == (1, 1, "unreadable") and not more


def test_the_same_said_in_another_form_is_a_change() -> None:
    assert found([LINES[0].replace(b'"at":', b'"at": '), *LINES[1:]]) == [(1, "changed")]
    twice = LINES[0].replace(b'{"at"', b'{"kind":"readings","at"')
    assert found([twice, *LINES[1:]]) == [(1, "changed")]


# -- the commands -------------------------------------------------------------------------------------------------------------


def test_the_command_names_what_is_wrong_and_ends_with_1(tmp_path: Path) -> None:
    file = tmp_path / "case.jsonl"
    file.write_bytes(b"".join(LINES))
    done = CliRunner().invoke(app, ["verify", str(file), "--head", HEAD])
    assert (done.exit_code, "5 records: sound" in done.output) == (0, True)
    file.write_bytes(b"".join([*LINES[:2], LINES[2].replace(b"torn", b"worn"), LINES[3]]))
    done = CliRunner().invoke(app, ["verify", str(file), "--head", HEAD])
    assert done.exit_code == 1
    assert "✗ record 3 (line 3): changed: its seal does not fit what it says" in done.output
    assert "✗ record 4 (not there): cut off" in done.output and "4 records: 2 findings" in done.output
    told_as_json = json.loads(CliRunner().invoke(app, ["verify", str(file), "--json"]).output)
    assert (told_as_json["sound"], told_as_json["findings"][0]["n"], told_as_json["records"]) == (False, 3, 4)
    with pytest.raises(Problem, match="cannot be read"):
        CliRunner().invoke(app, ["verify", str(tmp_path / "none")], catch_exceptions=False)


def test_who_has_only_the_small_package_verifies_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "case.jsonl"
    file.write_bytes(b"".join(LINES))
    assert main([str(file), "--head", HEAD]) == 0
    assert "5 records: sound" in capsys.readouterr().out
    assert main([str(file), "--head", "f" * 64]) == 1
    assert main([str(tmp_path / "none")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    # It brings neither the services nor the mesh along.
    assert not {"citybrain.mesh", "citybrain.services"} & {name for name in vars(evidence) if name in sys.modules}
