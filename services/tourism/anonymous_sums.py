"""Sums over people that tell of nobody: which are taken in. Pure.

- *k-anonymity at the border* (L. Sweeney, *k-anonymity: a model for protecting privacy*, 2002): each sum is over at least
  `LEAST` people. A smaller one is refused and kept nowhere; who reports it adds it to another, or leaves it out.
- *Nobody twice*: the sums of a report have no person in common, and are of whole hours or days. So each total that is made of
  them is of at least as many people, and so is what is left when one total is taken from another.
- *No difference*: a correction that differs by fewer than `LEAST` people from any number that was ever told of the same would
  tell of those few. It is refused too, and so is an amount that differs by less than `LEAST` of its people spend.

That 20 are enough is a proposal of this project. What the sums of two sources say of the same people nobody can know here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LEAST = 20

Sums = Mapping[str, int]
"""What is told → people."""


def amount_problem(amount: int, earlier: Sequence[tuple[int, int]]) -> str | None:
    """Why an amount that people spend together is not taken. `earlier`: amounts and people that were told of the same."""
    for before, many in earlier:
        if 0 < abs(amount - before) * many < LEAST * before:
            return f"differs by less than {LEAST} of these people spend, and would tell of a few payments: leave it as it was"
    return None


def problem(told: str, people: int, earlier: Sequence[Sums]) -> str | None:
    """Why a sum is not taken; None: it is. `earlier`: all that was told before of the same."""
    if people < LEAST:
        return f"is of fewer than {LEAST} people: add it to those of elsewhere, or leave it out"
    for one in earlier:
        before = one.get(told, 0)
        if 0 < abs(people - before) < LEAST:
            return f"differs by fewer than {LEAST} people from what was told before, and would tell of them: leave it as it was"
    return None
