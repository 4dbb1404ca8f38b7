"""What the page of a demo run holds, and that nothing in its data can do harm."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from citybrain.stories.emergency import report as module
from citybrain.stories.emergency.report import Report, ReportError, RideTrack, compared, signals_passed, write
from tests.unit.stories.small_city import BEGIN_S, city

NASTY = '</script><img src=x onerror="alert(1)"><!-- & \u2028 患者'


class _Page(HTMLParser):
    """What a browser would make of the page: its elements, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    @override
    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and self.scripts:
            self.scripts[-1] += data


def _page(report: Report, tmp_path: Path) -> _Page:
    write(report, tmp_path / "report.html")
    return _Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def _data(report: Report, tmp_path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(_page(report, tmp_path).scripts[0])
    return data


def _rows(flat: Sequence[int], width: int) -> list[tuple[float, ...]]:
    """The reverse of how the page's numbers are written: tenths, each row the difference to the one before."""
    columns = [[tenths / 10 for tenths in accumulate(flat[column::width])] for column in range(width)]
    return list(zip(*columns, strict=True))


def test_the_page_is_one_file_that_asks_no_network(tmp_path: Path) -> None:
    report = city(source="© OpenStreetMap contributors, https://www.openstreetmap.org/copyright")
    write(report, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", text, re.IGNORECASE)
    assert not re.search(r"@import|url\(|\bfetch\(|XMLHttpRequest|WebSocket|\bimport\(", text)
    assert "default-src 'none'" in text
    assert {tag for tag, _ in _Page(text).tags}.isdisjoint({"img", "iframe", "object", "embed"})
    assert all("src" not in attributes for _, attributes in _Page(text).tags)


def test_the_size_that_is_told_is_the_size_on_disk(tmp_path: Path) -> None:
    assert write(city(), tmp_path / "report.html") == (tmp_path / "report.html").stat().st_size


def test_a_large_city_stays_below_the_limit(tmp_path: Path) -> None:
    large = city(blocks=32, drive_s=(1500, 1499), events=300)
    assert len(large.roads) >= 2000
    assert write(large, tmp_path / "report.html") < module.LIMIT_BYTES
    assert len(json.loads(_Page((tmp_path / "report.html").read_text(encoding="utf-8")).scripts[0])["lines"]) == 300


def test_roads_signals_and_tracks_come_back_to_a_decimetre(tmp_path: Path) -> None:
    report = city()
    data = _data(report, tmp_path)
    for flat, road in zip(data["roads"], report.roads, strict=True):
        assert _rows(flat, 2) == [pytest.approx(point, abs=0.051) for point in road]
    for signal_id, points in report.signals.items():
        assert _rows(data["signals"][signal_id], 2) == [pytest.approx(point, abs=0.051) for point in points]
    for variant, ride in report.rides.items():
        for name, track in ride.ambulances.items():
            assert _rows(data["rides"][variant]["ambulances"][name], 3) == [
                pytest.approx(sample, abs=0.051) for sample in track
            ]


def test_the_signals_states_come_back_as_they_were(tmp_path: Path) -> None:
    report = city()
    data = _data(report, tmp_path)
    for variant, ride in report.rides.items():
        for signal_id, changes in ride.signal_states.items():
            written = data["rides"][variant]["signals"][signal_id]
            seconds = [tenths / 10 for tenths in accumulate(written["changes"][::2])]
            states = [written["states"][number] for number in written["changes"][1::2]]
            assert list(zip(seconds, states, strict=True)) == list(changes)


def test_events_times_and_trace_come_back_as_they_were(tmp_path: Path) -> None:
    report = city()
    data = _data(report, tmp_path)
    assert [line["event"] for line in data["lines"]] == [line.event for line in report.lines]
    assert data["lines"][0]["second"] == BEGIN_S
    assert data["times"][2] == {"label": ["Handed over", "移交"], "values": {"ordinary": None, "city": 5.5}}
    assert data["times"][3] == {"label": ["Red lights run", "闯红灯"], "values": {"ordinary": "0 / 23", "city": "1 / 23"}}
    [root] = data["trace"]
    assert (root["spanId"], len(root["children"])) == (report.trace[0]["spanId"], len(report.trace[0]["children"]))
    assert root["children"][0]["durationMs"] == report.trace[0]["children"][0]["durationMs"]


def test_both_languages_are_in_the_file(tmp_path: Path) -> None:
    write(city(kill_en="It was killed.", kill_zh="曾被终止。"), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in ("sooner", "提前", "It was killed.", "曾被终止。", "Emergency command", "应急指挥", "What happened", "经过"):
        assert words in text


def test_every_word_of_the_page_is_said_in_both_languages() -> None:
    text = Path(str(module.__file__)).with_name("report.html").read_text(encoding="utf-8")
    english, chinese = (
        set(re.findall(r"(\w+): \"", block)) for block in re.findall(r"^  (?:en|zh): \{\n(.*?)^  \},", text, re.S | re.M)
    )
    assert english == chinese
    used = set(re.findall(r"\bsay\(\"(\w+)\"\)", text)) | set(re.findall(r"data-text=\"(\w+)\"", text))
    assert used <= english


def test_data_cannot_leave_its_place_in_the_page(tmp_path: Path) -> None:
    plain = city()
    line = dataclasses.replace(plain.lines[0], english=NASTY, event={**plain.lines[0].event, "content": {NASTY: NASTY}})
    nasty = city(
        lines=[line],
        city_en=NASTY,
        sentence_zh=NASTY,
        source=NASTY,
        places=[dataclasses.replace(plain.places[0], label_en=NASTY)],
        trace=[{**plain.trace[0], "name": NASTY}],
    )
    page = _page(nasty, tmp_path)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in _page(plain, tmp_path).tags]
    data = json.loads(page.scripts[0])
    assert data["city"][0] == data["sentence"][1] == data["source"] == data["places"][0]["label"][0] == NASTY
    assert data["lines"][0]["event"]["content"] == {NASTY: NASTY}
    assert data["trace"][0]["name"] == NASTY
    assert "<" not in page.scripts[0]


def test_the_page_puts_text_in_as_text_only() -> None:
    text = Path(str(module.__file__)).with_name("report.html").read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)


def test_tracks_are_thinned_before_the_report_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = city(drive_s=(1500, 1400))
    whole = write(report, tmp_path / "report.html")
    monkeypatch.setattr(module, "LIMIT_BYTES", whole - 1)
    assert write(report, tmp_path / "report.html") < whole
    page = _Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    samples = _rows(json.loads(page.scripts[0])["rides"]["city"]["ambulances"]["ambulance-1a"], 3)
    assert (samples[0][0], samples[1][0], samples[-1][0]) == (BEGIN_S, BEGIN_S + 2, BEGIN_S + 1400)


def test_what_is_too_large_all_the_same_is_refused_and_not_written(tmp_path: Path) -> None:
    lines = [dataclasses.replace(line, english="x" * 600_000) for line in city(events=5).lines]
    with pytest.raises(ReportError, match="bytes"):
        write(city(lines=lines), tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("broken", [{"roads": [[(0.0, math.nan)]]}, {"end_s": math.inf}])
def test_what_is_not_a_number_is_refused(tmp_path: Path, broken: dict[str, Any]) -> None:
    with pytest.raises(ReportError, match="finite"):
        write(city(**broken), tmp_path / "report.html")


def test_only_signals_on_the_way_count_as_passed() -> None:
    assert signals_passed(city()) == ["crossing-0-0", "crossing-2-0", "crossing-4-0"]


def test_a_jump_of_a_vehicle_passes_no_signals() -> None:
    jump = RideTrack({"ambulance-1a": [(300, 60.0, 60.0), (301, 60.0, 400.0)]}, {})
    assert signals_passed(city(rides={"city": jump}, signals={"between": [(60.0, 240.0)]})) == []


def test_on_the_left_is_the_drive_that_is_wanted_if_there_is_one() -> None:
    rides = city().rides
    three = {**rides, "bluelight": rides["ordinary"]}
    assert compared(city(rides=three, left="bluelight")) == "bluelight"
    assert compared(city(left="bluelight")) == "ordinary"
    assert compared(city(rides={"city": rides["city"]})) is None


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_of_the_page_is_well_formed(tmp_path: Path) -> None:
    (tmp_path / "script.js").write_text(_page(city(), tmp_path).scripts[1], encoding="utf-8")
    checked = subprocess.run(["node", "--check", "script.js"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
