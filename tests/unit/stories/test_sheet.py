"""The page of a story is complete, in two languages, and shows texts as texts."""

from __future__ import annotations

import re
from pathlib import Path

from citybrain.stories.drawing import Map, Series, chart
from citybrain.stories.sheet import Check, Sheet, Text


def made(tmp_path: Path, sheet: Sheet) -> str:
    size = sheet.write(tmp_path / "new" / "report.html")
    text = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert size == len(text.encode())
    return text


def sheet() -> Sheet:
    return Sheet(Text("Park", "园区"), Text("Found <here>.", "已找到。"), Text("Nobody", "无"))


def test_each_text_stands_there_in_both_languages_and_nothing_is_loaded_from_anywhere(tmp_path: Path) -> None:
    page = sheet()
    page.heading(Text("Map", "地图"))
    page.table([Text("who", "谁"), Text("when", "何时")], [[Text("a firm", "企业"), "10:05"]])
    page.checks([Check(Text("one", "一"), "1", True), Check(Text("two", "二"), "0", False)])
    text = made(tmp_path, page)
    for english, chinese in (("Map", "地图"), ("a firm", "企业"), ("Found &lt;here&gt;.", "已找到。")):
        assert f'<span lang="en">{english}</span><span lang="zh-CN">{chinese}</span>' in text
    assert text.count("✓") == text.count("✗") == 1
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "<script" not in text


def test_a_text_that_looks_like_a_mark_of_the_page_stays_a_text(tmp_path: Path) -> None:
    page = sheet()
    page.paragraph(Text("__SOURCE__ __PARTS__", "__TITLE__"))
    text = made(tmp_path, page)
    assert "__SOURCE__ __PARTS__" in text
    assert text.count("Nobody") == 1


def test_north_is_up_and_a_length_on_the_map_is_as_long_in_all_directions() -> None:
    drawn = Map((0, 0), (2000, 1000))
    drawn.spot(500, 250, "red", "A & B")
    drawn.line([(0, 0), (0, 1000), (1000, 1000)], "blue")
    svg = drawn.svg()
    assert 'viewBox="0 0 1000 500"' in svg
    assert 'cx="250.0" cy="375.0"' in svg
    assert "A &amp; B" in svg
    assert 'points="0.0,500.0 0.0,0.0 500.0,0.0"' in svg


def test_a_chart_has_its_limit_inside_even_where_no_value_comes_near_it() -> None:
    svg = chart([Series("one", "red", [(9, 10), (10, 20)])], "µg/m³", limit=(500, "limit"), marks=[(9.5, "begins")])
    (line,) = re.findall(r'<line x1="56.0" y1="([\d.]+)"[^>]*stroke="var\(--bad\)"', svg)
    assert 26 < float(line) < 100
    assert "limit</text>" in svg
    assert "begins</text>" in svg
