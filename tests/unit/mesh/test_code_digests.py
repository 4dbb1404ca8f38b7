"""The digest of code: it changes with what a function does and with what that uses from beside it, and with no comment."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from citybrain.mesh.storage.code_digests import digest_of

HELPER = '''"""Beside it."""

LONGEST = 5


def shorter(text):
    return text[:LONGEST]


def of_no_use():
    return 1
'''
FOLD = '''"""A read model."""

from beside import helper
from beside.helper import shorter

WIDTH = 3


class Counter:
    """Counts."""

    def more(self, count):
        """One more."""
        return count + 1


def twice(count):
    """Two more."""
    # Comments say why.
    return Counter().more(Counter().more(count))


def apply(row, event):
    """Folds."""
    return (shorter(event), twice(row), helper.LONGEST, WIDTH)


def other(row, event):
    return row


key, again = lambda event: event, lambda event: event[WIDTH]
'''


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that a test writes into."""
    folder = tmp_path / "beside"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "beside"]:
        del sys.modules[name]


def loaded(folder: Path, fold: str = FOLD, helper: str = HELPER) -> ModuleType:
    """The modules as a process has them that starts now."""
    forget()
    (folder / "helper.py").write_text(helper, encoding="utf-8")
    (folder / "fold.py").write_text(fold, encoding="utf-8")
    importlib.invalidate_caches()
    # What was compiled before is of the same second, and may be as long.
    for compiled in folder.rglob("*.pyc"):
        compiled.unlink()
    return importlib.import_module("beside.fold")


def digests(folder: Path, fold: str = FOLD, helper: str = HELPER) -> tuple[str, str]:
    module = loaded(folder, fold, helper)
    return digest_of(module.key, module.apply), digest_of(module.other)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# Comments say why.", "# Another word."),
        ('"""Two more."""', '"""Adds two."""'),
        ('    """Counts."""\n', ""),
        ("(shorter(event), twice(row),", "(\n        shorter(event),\n\n        twice(row),"),
        ("WIDTH = 3", "WIDTH = 3  # metres"),
        ("def other(row, event):\n    return row", "def other(row, event):\n    return event"),
        ("\n\n\n", "\n\n\n\n"),
        ("def twice(count):", "def twice(count: int) -> int:"),
    ],
)  # fmt: skip
def test_comments_form_and_what_is_not_used_do_not_count(beside: Path, before: str, after: str) -> None:
    assert before in FOLD
    assert digests(beside)[0] == digests(beside, FOLD.replace(before, after))[0]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("twice(row), helper", "twice(row) + 1, helper"),
        ("return Counter().more(Counter().more(count))", "return Counter().more(count)"),
        ("return count + 1", "return count + 2"),
        ("WIDTH = 3", "WIDTH = 4"),
        ("lambda event: event,", "lambda event: event or None,"),
    ],
)
def test_what_a_function_does_counts_with_all_that_it_uses_of_its_module(beside: Path, before: str, after: str) -> None:
    whole, other = digests(beside)
    assert before in FOLD
    changed, other_now = digests(beside, FOLD.replace(before, after))
    assert changed != whole
    assert other_now == other, "what uses nothing of it is the same"


def test_what_it_uses_of_a_module_beside_it_counts_and_the_rest_of_that_does_not(beside: Path) -> None:
    whole, _ = digests(beside)
    assert digests(beside, helper=HELPER.replace("LONGEST = 5", "LONGEST = 6"))[0] != whole
    assert digests(beside, helper=HELPER.replace("text[:LONGEST]", "text[-LONGEST:]"))[0] != whole
    assert digests(beside, helper=HELPER.replace("return 1", "return 2"))[0] == whole


def test_which_function_is_which_counts(beside: Path) -> None:
    module = loaded(beside)
    assert digest_of(module.apply, module.other) != digest_of(module.other, module.apply)


def test_a_function_inside_another_one_is_known_by_its_own_text(beside: Path) -> None:
    def inside(text: str) -> str:
        fold = f"def outer(limit):\n    def apply(row, event):\n        return {text}\n    return apply\n\n\napply = outer(3)\n"
        return digest_of(loaded(beside, fold).apply)

    assert inside("row") == inside("row  # as it was") != inside("event")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("outer(3)", "outer(4)"),
        ("outer(3)", "outer((3, 4))"),
        ("outer(3)", "outer({3: 'a'})"),
        ("outer({'b', 'a'})", "outer({'b', 'c'})"),
        ("outer(WIDE)", "outer(len)"),
        ("outer(lambda row: row)", "outer(lambda row: row + 1)"),
        ("outer(int)", "outer(str)"),
    ],
)
def test_what_a_function_closes_over_counts(beside: Path, before: str, after: str) -> None:
    def digest(held: str) -> str:
        outer = "def outer(limit):\n    def apply(row, event, more=limit):\n        return limit\n    return apply\n\n\n"
        fold = f"WIDE = 3\n\n\n{outer}"
        return digest_of(loaded(beside, f"{fold}apply = {held}\n").apply)

    assert digest(before) == digest(before) != digest(after)
    assert digest("outer({'a', 'b'})") == digest("outer({'b', 'a'})")


def test_of_two_functions_on_one_line_each_has_its_own_text(beside: Path) -> None:
    module = loaded(beside)
    assert digest_of(module.key) != digest_of(module.again)
    fold = FOLD.replace("lambda event: event[WIDTH]", "lambda event: event[0]")
    assert digest_of(loaded(beside, fold).key) == digest_of(module.key)


def test_what_has_no_source_has_no_digest() -> None:
    assert digest_of(len) == digest_of(functools.partial(digest_of)) == digest_of(digest_of, len) == ""
