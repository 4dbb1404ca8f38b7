"""Numbers by which China names firms and persons: whether their check digit is right, and what is wrong with one that is not.

Both are personal in this city: a number stands in no log, trace, key, stream id or topic. `People.of("uscc", number)`
and `People.of("citizen", number)` of the kit give every service the same random id for a number; keep and pass on that id.
A problem that is told here never repeats the number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

_LENGTH = 18
_USCC_LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
_USCC = re.compile(r"[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}")
_CITIZEN_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CITIZEN_CHECKS = "10X98765432"
_CITIZEN = re.compile(r"[1-9][0-9]{16}[0-9X]")
_FIRST_YEAR = 1850


def uscc(text: str) -> str:
    """A unified social credit code in its one form: without blanks around it, in capitals. What is wrong: `uscc_problem`."""
    return _form(text)


def uscc_check(body: str) -> str:
    """The check digit of the first 17 signs of a unified social credit code (GB 32100-2015, annex A)."""
    total = sum(_USCC_LETTERS.index(sign) * weight for sign, weight in zip(body, _USCC_WEIGHTS, strict=True))
    return _USCC_LETTERS[-total % 31]


def uscc_problem(text: str) -> str:
    """What is wrong with a unified social credit code (GB 32100-2015); empty: nothing."""
    made_of = "it is made of numbers and capitals without I, O, S, V, Z"
    return _problem(_form(text), "unified social credit code", _USCC, made_of, uscc_check)


def citizen_id(text: str) -> str:
    """A citizen id in its one form: without blanks around it, with a capital X. What is wrong: `citizen_id_problem`."""
    return _form(text)


def citizen_id_check(body: str) -> str:
    """The check digit of the first 17 numbers of a citizen id (GB 11643-1999)."""
    total = sum(int(sign) * weight for sign, weight in zip(body, _CITIZEN_WEIGHTS, strict=True))
    return _CITIZEN_CHECKS[total % 11]


def citizen_id_problem(text: str) -> str:
    """What is wrong with a citizen id (GB 11643-1999); empty: nothing. Which districts there were is not asked."""
    made_of = "it is 17 numbers, then a number or X"
    return _problem(_form(text), "citizen id", _CITIZEN, made_of, citizen_id_check, _birth_problem)


def _birth_problem(code: str) -> str:
    try:
        born = date(int(code[6:10]), int(code[10:12]), int(code[12:14]))
    except ValueError:
        return "has a day of birth that there is not (signs 7 to 14)"
    return "has a year of birth before 1850 (signs 7 to 10)" if born.year < _FIRST_YEAR else ""


def _form(text: str) -> str:
    return text.strip().upper()


def _problem(
    code: str,
    named: str,
    form: re.Pattern[str],
    made_of: str,
    check: Callable[[str], str],
    more: Callable[[str], str] = lambda _: "",
) -> str:
    """What is wrong with a number whose last sign checks the others. `more`: what else may be."""
    if len(code) != _LENGTH:
        return f"has {len(code)} signs: a {named} has {_LENGTH}"
    if not form.fullmatch(code):
        return f"has a sign that no {named} has: {made_of}"
    if problem := more(code):
        return problem
    if check(code[:-1]) != code[-1]:
        return f"has a wrong check digit, the last sign: look at the {named} again, two signs may have changed places"
    return ""
