"""Numbers of firms and persons: published values, and every single sign that is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.mesh.identifiers import (
    citizen_id,
    citizen_id_check,
    citizen_id_problem,
    uscc,
    uscc_check,
    uscc_problem,
)

LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
FIRM = "91330100799655058B"


@pytest.mark.parametrize(("body", "check"), [("91330000MA27XYT12", "R"), (FIRM[:17], "B")])
def test_the_check_digit_of_a_credit_code_is_that_of_published_codes(body: str, check: str) -> None:
    assert uscc_check(body) == check
    assert uscc_problem(body + check) == ""


@pytest.mark.parametrize(
    ("body", "check"), [("33010619900307001", "4"), ("33010220000229888", "5"), ("11010519491231002", "X")]
)
def test_the_check_digit_of_a_citizen_id_is_that_of_published_ids(body: str, check: str) -> None:
    assert citizen_id_check(body) == check
    assert citizen_id_problem(body + check) == ""


def test_small_letters_and_blanks_around_are_the_same_number() -> None:
    assert citizen_id_problem(" 11010519491231002x ") == ""
    assert citizen_id(" 11010519491231002x ") == "11010519491231002X"
    assert uscc_problem(FIRM.lower()) == ""
    assert uscc(f" {FIRM.lower()}\n") == FIRM


@given(st.text(LETTERS, min_size=2, max_size=2), st.text("0123456789", min_size=6, max_size=6), st.data())
@settings(max_examples=30)
def test_one_wrong_sign_is_found_in_every_credit_code(kind: str, district: str, data: st.DataObject) -> None:
    body = kind + district + data.draw(st.text(LETTERS, min_size=9, max_size=9))
    code = body + uscc_check(body)
    assert uscc_problem(code) == ""
    place = data.draw(st.integers(8, 17))
    other = data.draw(st.sampled_from([sign for sign in LETTERS if sign != code[place]]))
    assert "check digit" in uscc_problem(code[:place] + other + code[place + 1 :])


@given(st.dates(), st.integers(1, 9), st.integers(0, 99999), st.integers(0, 999), st.data())
@settings(max_examples=30)
def test_one_wrong_number_is_found_in_every_citizen_id(
    born: object, first: int, district: int, order: int, data: st.DataObject
) -> None:
    body = f"{first}{district:05d}{born:%Y%m%d}{order:03d}".replace(" ", "0")
    if len(body) != 17 or int(body[6:10]) < 1850:
        return
    code = body + citizen_id_check(body)
    assert citizen_id_problem(code) == ""
    place = data.draw(st.sampled_from([1, 2, 3, 4, 5, 14, 15, 16]))
    other = data.draw(st.sampled_from([sign for sign in "0123456789" if sign != code[place]]))
    assert "check digit" in citizen_id_problem(code[:place] + other + code[place + 1 :])


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("9133", "has 4 signs"),
        ("", "has 0 signs"),
        ("9133010079965505IB", "a sign that no"),
        ("91330A00799655058B", "a sign that no"),
        (FIRM[:17] + "C", "check digit"),
    ],
)
def test_a_wrong_credit_code_is_told_what_is_wrong_and_never_repeated(code: str, problem: str) -> None:
    assert problem in uscc_problem(code)
    assert not code or code not in uscc_problem(code)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("330106900307001", "has 15 signs"),
        ("3301061990030700X4", "a sign that no"),
        ("330106199002300014", "a day of birth that there is not"),
        ("330106129003070017", "a year of birth before 1850"),
        ("330106199003070015", "check digit"),
    ],
)
def test_a_wrong_citizen_id_is_told_what_is_wrong_and_never_repeated(code: str, problem: str) -> None:
    assert problem in citizen_id_problem(code)
    assert code not in citizen_id_problem(code)


@pytest.mark.parametrize(("born", "good"), [("18500101", True), ("18491231", False)])
def test_a_year_of_birth_is_1850_or_later(born: str, good: bool) -> None:
    body = f"330106{born}001"
    assert (citizen_id_problem(body + citizen_id_check(body)) == "") is good
