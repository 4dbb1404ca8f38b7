"""What `make test-k8s` compiles is made once, and anew only if what it is made from has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import kubernetes_server
from tools.kubernetes_server import PARTS, main


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that were made. Their making is left out, and so is asking for a Go."""
    parts: list[str] = []
    monkeypatch.setattr(kubernetes_server, "PARTS", dict.fromkeys(PARTS, lambda folder: parts.append(folder.name)))
    monkeypatch.setattr(kubernetes_server, "_check", lambda target: None)
    pinned = tmp_path / "pinned"
    for name in PARTS:
        (pinned / name).mkdir(parents=True)
        (pinned / name / "pins").write_text("1", encoding="utf-8")
    monkeypatch.setattr(kubernetes_server, "PINNED", pinned)
    return parts


def test_every_part_is_made_once(made: list[str], tmp_path: Path) -> None:
    main(tmp_path / "target")
    assert made == list(PARTS)
    main(tmp_path / "target")
    assert made == list(PARTS)


def test_a_part_whose_pins_have_changed_is_made_anew_and_nothing_of_before_is_left(made: list[str], tmp_path: Path) -> None:
    main(tmp_path / "target")
    made.clear()
    (tmp_path / "pinned" / "kwok" / "pins").write_text("2", encoding="utf-8")
    (tmp_path / "target" / "kwok" / "old").touch()
    main(tmp_path / "target")
    assert made == ["kwok"]
    assert not (tmp_path / "target" / "kwok" / "old").exists()


def test_a_part_that_could_not_be_made_is_made_at_the_next_time(
    made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(folder: Path) -> None:
        raise SystemExit("no network")

    monkeypatch.setitem(kubernetes_server.PARTS, "kwok", fails)
    with pytest.raises(SystemExit):
        main(tmp_path / "target")
    monkeypatch.setitem(kubernetes_server.PARTS, "kwok", lambda folder: made.append("kwok"))
    before = list(made)
    main(tmp_path / "target")
    assert made == [*before, *(name for name in PARTS if name not in before)]


@pytest.mark.parametrize(
    ("said", "problem"), [(None, "there is no `go` on PATH"), ("go version go1.21.3 linux/amd64", "too old")]
)
def test_without_a_go_that_is_new_enough_one_line_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, problem: str
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    if said is not None:
        (programs / "go").write_text(f"#!/bin/sh\necho '{said}'\n", encoding="utf-8")
        (programs / "go").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(SystemExit, match=rf"test-k8s: .*{problem}.*: install Go 1\.26 or newer$"):
        main(tmp_path / "target")
    assert not (tmp_path / "target").exists()
