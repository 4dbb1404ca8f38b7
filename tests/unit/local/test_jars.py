"""The jars of an engine are taken from where they are said to be, and only those that the lock names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from citybrain.local import jars
from citybrain.local.errors import EngineError

LOCK = """
bytes = 3
[[dependencies]]
groupId = "org.example"
artifactId = "small"
version = "1"
sha256 = "{sha256}"
"""


def keep(folder: Path, content: bytes) -> Path:
    """Puts the jar where a cache in a folder has it."""
    jar = folder / "org" / "example" / "small" / "1" / "small-1.jar"
    jar.parent.mkdir(parents=True)
    jar.write_bytes(content)
    return jar


def nothing_to_say(text: str) -> None:
    raise AssertionError(text)


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.lock.toml").write_text(LOCK.format(sha256=hashlib.sha256(b"jar").hexdigest()), encoding="utf-8")
    monkeypatch.setattr(jars, "__file__", str(tmp_path / "jars.py"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("CITY_ENGINES_CACHE", raising=False)


@pytest.mark.usefixtures("lock")
def test_jars_are_in_the_folder_that_the_environment_names_or_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home = keep(tmp_path / "home" / ".cache" / "city-engines", b"jar")
    assert jars.class_path("small", nothing_to_say) == str(at_home)
    in_cache = keep(tmp_path / "xdg" / "city-engines", b"jar")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert jars.class_path("small", nothing_to_say) == str(in_cache)
    named = keep(tmp_path / "named", b"jar")
    monkeypatch.setenv("CITY_ENGINES_CACHE", str(tmp_path / "named"))
    assert jars.class_path("small", nothing_to_say) == str(named)


@pytest.mark.usefixtures("lock")
def test_a_jar_that_is_not_the_one_of_the_lock_is_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITY_ENGINES_CACHE", str(tmp_path / "named"))
    keep(tmp_path / "named", b"another")

    def told(text: str) -> None:
        raise EngineError(text)

    with pytest.raises(EngineError, match=f"downloads 1 of 1 jars, 0 MB in all, into {tmp_path / 'named'}"):
        jars.class_path("small", told)
