"""What the still picture of a demo run shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import pytest

from citybrain.stories.emergency import picture
from citybrain.stories.emergency.picture import Language, draw
from citybrain.stories.emergency.report import Report, ReportError
from tests.unit.stories.small_city import BEGIN_S, city

_SVG = "{http://www.w3.org/2000/svg}"


def _drawn(report: Report, tmp_path: Path, language: Language = "en") -> ElementTree.Element:
    draw(report, tmp_path / "picture.svg", language)
    return ElementTree.fromstring((tmp_path / "picture.svg").read_text(encoding="utf-8"))  # noqa: S314


def _texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(_SVG + "text")]


def test_it_shows_both_rides_and_says_what_is_seen(tmp_path: Path) -> None:
    texts = _texts(_drawn(city(), tmp_path))
    assert texts.count("First Hospital") == texts.count("The patient") == texts.count("Station 1") == 2
    assert {"Without the city", "With the city", "Call to hospital", "7 min 00 s", "5 min 00 s", "—", "1 / 23"} <= set(texts)
    assert " ".join(texts).startswith("With the city's help")
    assert "Made up for a test; free to use." in texts


def test_the_moment_is_the_arrival_with_the_city(tmp_path: Path) -> None:
    assert "Checkerboard, seed 7, 5 min 00 s after the call; the other one has 0.3 km left." in _texts(_drawn(city(), tmp_path))


def test_without_an_arrival_the_moment_is_the_last_that_is_known(tmp_path: Path) -> None:
    report = city()
    rides = {variant: dataclasses.replace(ride, hospital_s=None) for variant, ride in report.rides.items()}
    assert any("5 min 00 s after the call" in text for text in _texts(_drawn(city(rides=rides), tmp_path)))


def test_it_can_speak_chinese(tmp_path: Path) -> None:
    texts = _texts(_drawn(city(), tmp_path, "zh"))
    assert {"没有城市大脑", "有城市大脑", "第一医院", "报警到医院", "7 分 00 秒"} <= set(texts)


def test_the_signals_of_the_route_have_the_colours_of_that_second(tmp_path: Path) -> None:
    report = city()
    at = BEGIN_S + 300
    states = {name: [(at - 1, "rrrrrr"), (at, "GGGGGG"), (at + 1, "yyyyyy")] for name in report.signals}
    rides = {variant: dataclasses.replace(ride, signal_states=states) for variant, ride in report.rides.items()}
    root = _drawn(city(rides=rides), tmp_path)
    groups = [g for g in root.iter(_SVG + "g") if g.get("fill") and g.find(_SVG + "circle") is not None]
    assert {g.get("fill") for g in groups} == {"#12944a"}


def test_a_large_city_stays_below_the_limit_with_its_detail(tmp_path: Path) -> None:
    draw(city(blocks=32, drive_s=(1500, 1400), events=300), tmp_path / "picture.svg")
    assert (tmp_path / "picture.svg").stat().st_size < picture.LIMIT_BYTES


def test_detail_is_given_up_before_the_picture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curved = city(roads=[[(n / 10, (n * 7919 % 13) / 10) for n in range(4000)]])
    draw(curved, tmp_path / "picture.svg")
    whole = (tmp_path / "picture.svg").stat().st_size
    monkeypatch.setattr(picture, "LIMIT_BYTES", whole)
    draw(curved, tmp_path / "picture.svg")
    assert (tmp_path / "picture.svg").stat().st_size < whole
    monkeypatch.setattr(picture, "LIMIT_BYTES", 100)
    with pytest.raises(ReportError, match="bytes"):
        draw(curved, tmp_path / "picture.svg")


def test_words_from_data_stay_words(tmp_path: Path) -> None:
    nasty = "</text><script>alert(1)</script> & \x00 患者"
    root = _drawn(city(sentence_en=nasty, city_en=nasty, source=nasty), tmp_path)
    assert not list(root.iter(_SVG + "script"))
    assert any("</text><script>alert(1)</script> & \ufffd 患者" in text for text in _texts(root))


def test_a_drive_without_another_to_compare_is_drawn_alone(tmp_path: Path) -> None:
    texts = _texts(_drawn(city(rides={"city": city().rides["city"]}), tmp_path))
    assert "With the city" in texts
    assert "Without the city" not in texts


def test_without_the_citys_drive_there_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no drive with the city"):
        draw(city(rides={}), tmp_path / "picture.svg")
