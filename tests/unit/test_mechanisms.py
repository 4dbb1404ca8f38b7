"""The list of security mechanisms is what the threat model shows, and each of its patches fits the code of today."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from citybrain.local.city import ROOT
from tools import mechanisms_off
from tools.mechanisms import MECHANISMS, Mechanism, table


def test_the_threat_model_shows_each_mechanism_with_its_place_and_its_tests() -> None:
    assert table() in (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8"), f"put this there:\n{table()}"


@pytest.mark.parametrize("one", MECHANISMS, ids=lambda one: one.id)
def test_a_mechanism_can_be_switched_off_and_names_tests_that_are_there(one: Mechanism) -> None:
    text = (ROOT / one.file).read_text(encoding="utf-8")
    without = one.applied(text)
    assert without != text
    if one.file.endswith(".py"):
        compile(without, one.file, "exec")
    assert one.tests
    for test in one.tests:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8") if name else (ROOT / file).is_file(), test


def test_a_patch_that_does_not_fit_any_more_is_an_error() -> None:
    one = Mechanism("x", "x", "x.py", (("a", "b"),), ("t",))
    for text in ("", "a a"):
        with pytest.raises(ValueError, match=r"^x: x.py has \d times, and not once"):
            one.applied(text)


def test_tests_that_stay_green_are_found(tmp_path: Path) -> None:
    """In a small tree: one test looks at the code, and one does not."""
    (tmp_path / "code.py").write_text("SAFE = True\n", encoding="utf-8")
    tests = {
        "test_looks.py": "from code_here import SAFE\n\n\ndef test_it() -> None:\n    assert SAFE\n",
        "test_sleeps.py": "def test_it() -> None:\n    pass\n",
        "test_breaks.py": "from code_here import MISSING\n\n\ndef test_it() -> None:\n    assert MISSING\n",
    }
    (tmp_path / "code.py").rename(tmp_path / "code_here.py")
    for name, text in tests.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    found = [
        mechanisms_off._held(tmp_path, Mechanism(name, name, "code_here.py", (("True", "False"),), (name,))) for name in tests
    ]
    assert found == [True, False, False]
    assert (tmp_path / "code_here.py").read_text() == "SAFE = True\n"
