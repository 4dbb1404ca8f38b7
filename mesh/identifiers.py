"""Numbers by which China names firms and persons: whether their check digit is right, and what is wrong with one that is not.

Both are personal in this city: a number stands in no log, trace, key, stream id or topic. `People.of("uscc", number)`
and `People.of("citizen", number)` of the kit give every service the same random id for a number; keep and pass on that id.
A problem that is told here never repeats the number.
"""

from __future__ import annotations

import re
from datetime import date

_USCC_LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
_USCC = re.compile(r"[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}")
_CITIZEN_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CITIZEN_CHECKS = "10X98765432"
_CITIZEN = re.compile(r"[1-9][0-9]{16}[0-9X]")
_FIRST_YEAR = 1850


def uscc(text: str) -> str:
    """A unified social credit code in its one form: without blanks around it, in capitals. What is wrong: `uscc_problem`."""
    return text.strip().upper()


def uscc_check(body: str) -> str:
    """The check digit of the first 17 signs of a unified social credit code (GB 32100-2015, annex A)."""
    total = sum(_USCC_LETTERS.index(sign) * weight for sign, weight in zip(body, _USCC_WEIGHTS, strict=True))
    return _USCC_LETTERS[-total % 31]


def uscc_problem(text: str) -> str:
    """What is wrong with a unified social credit code (GB 32100-2015); empty: nothing."""
    code = uscc(text)
    if len(code) != 18:
        return f"has {len(code)} signs: a unified social credit code has 18"
    if not _USCC.fullmatch(code):
        return "has a sign that no unified social credit code has: it is made of numbers and capitals without I, O, S, V, Z"
    if uscc_check(code[:17]) != code[17]:
        return "has a wrong check digit, the last sign: look at the code again, two signs may have changed places"
    return ""


def citizen_id(text: str) -> str:
    """A citizen id in its one form: without blanks around it, with a capital X. What is wrong: `citizen_id_problem`."""
    return text.strip().upper()


def citizen_id_check(body: str) -> str:
    """The check digit of the first 17 numbers of a citizen id (GB 11643-1999)."""
    total = sum(int(sign) * weight for sign, weight in zip(body, _CITIZEN_WEIGHTS, strict=True))
    return _CITIZEN_CHECKS[total % 11]


def citizen_id_problem(text: str) -> str:
    """What is wrong with a citizen id (GB 11643-1999); empty: nothing. Which districts there were is not asked."""
    code = citizen_id(text)
    if len(code) != 18:
        return f"has {len(code)} signs: a citizen id has 18"
    if not _CITIZEN.fullmatch(code):
        return "has a sign that no citizen id has: it is 17 numbers, then a number or X"
    try:
        born = date(int(code[6:10]), int(code[10:12]), int(code[12:14]))
    except ValueError:
        return "has a day of birth that there is not (signs 7 to 14)"
    if born.year < _FIRST_YEAR:
        return "has a year of birth before 1850 (signs 7 to 10)"
    if citizen_id_check(code[:17]) != code[17]:
        return "has a wrong check digit, the last sign: look at the id again, two signs may have changed places"
    return ""
