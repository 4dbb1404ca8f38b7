"""What a call is about, by its words."""

from __future__ import annotations

import pytest

from citybrain.services.urban.classify import classify
from citybrain.services.urban.hotline_table import KINDS
from citybrain.services.urban.kinds import ORDER_HOURS


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
