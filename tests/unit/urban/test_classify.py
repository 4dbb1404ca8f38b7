"""What a call is about, by its words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from citybrain.services.urban.classify import classify
from citybrain.services.urban.hotline_table import KINDS
from citybrain.services.urban.kinds import ORDER_HOURS
from tests.unit.urban.hotline_texts import HELD_OUT, TRIED

PAGE = Path(__file__).parents[3] / "docs" / "urban-management.md"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("小区门口积水很深，下水道堵塞", "drainage"),
        ("路灯不亮三天了", "lamp"),
        ("The street lamps are out", "lamp"),
        ("有人遛狗不牵绳", "dog"),
        ("I smell gas! 好像漏气", "gas"),
        ("ＧＡＳ ＬＥＡＫ", "gas"),
        ("楼下烧烤摊贩占道，噪音扰民", "noise"),
        ("A dogged gasping hotdoghouse", "other"),
        ("你好", "other"),
        ("", "other"),
    ],
)
def test_a_text_goes_to_the_kind_whose_words_it_has(text: str, kind: str) -> None:
    assert classify(text)[0] == kind


def test_the_words_that_led_to_it_are_told() -> None:
    assert classify("manhole cover lost, 井盖丢了")[1] == ["井盖", "manhole"]


def test_of_kinds_that_fit_equally_well_the_first_of_the_table_counts() -> None:
    assert classify("停水，停电")[0] == "water"


def test_every_kind_has_a_department_and_work_with_hours_and_no_word_leads_to_two() -> None:
    words = [word for row in KINDS.values() for word in row.words]
    assert len(words) == len(set(words))
    assert all(row.order in ORDER_HOURS and row.department for row in KINDS.values())


def rows() -> list[str]:
    """The score on texts that were held out, a line a kind: how many are right, are left to a person, go elsewhere."""
    found = Counter((kind, classify(text)[0]) for kind, text in HELD_OUT)
    lines = []
    for kind in KINDS:
        mine = {to: count for (of, to), count in found.items() if of == kind}
        right, left = mine.get(kind, 0), mine.get("other", 0) if kind != "other" else 0
        elsewhere = ", ".join(f"{count} {to}" for to, count in sorted(mine.items()) if to not in (kind, "other"))
        lines.append(f"| {kind} | {sum(mine.values())} | {right} | {left} | {elsewhere or '–'} |")
    return lines


def test_the_score_on_texts_that_were_held_out_is_the_one_that_is_told() -> None:
    right = sum(classify(text)[0] == kind for kind, text in HELD_OUT)
    left = sum(kind != "other" == classify(text)[0] for kind, text in HELD_OUT)
    wrong = len(HELD_OUT) - right - left
    page = PAGE.read_text(encoding="utf-8")
    assert (
        f"Of {len(HELD_OUT)} texts {right} are right, {left} are left to a person, and {wrong} go to another department" in page
    )
    assert [line for line in rows() if line not in page] == []


def test_no_text_is_tried_and_held_out() -> None:
    assert not {text for _, text in TRIED} & {text for _, text in HELD_OUT}
    assert {kind for kind, _ in TRIED} == {kind for kind, _ in HELD_OUT} == set(KINDS)
    assert sum(classify(text)[0] == kind for kind, text in TRIED) >= len(TRIED) - 2


def test_the_name_of_a_place_leads_to_no_department() -> None:
    assert classify("拱宸桥社区的老年食堂几点开门")[0] == "other"
    assert classify("卖鱼桥附近很吵")[0] == "noise"
