"""A manifest that cannot be used is one line, which names the file and the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from citybrain.mesh.manifest import ManifestError, find_manifests, read_manifest

GOOD: dict[str, Any] = {
    "name": "signals", "title": "信号灯", "team": "traffic", "entry": "signals.service:SignalService",
    "grpc": "citybrain.signals.v1.SignalService", "port": 7100,
}  # fmt: skip


def write_manifest(folder: Path, content: dict[str, Any] | str | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.yaml"
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False) if isinstance(content, dict) else content
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_good_manifest_is_read_with_its_defaults(tmp_path: Path) -> None:
    manifest = read_manifest(write_manifest(tmp_path, GOOD))
    assert (manifest.title, manifest.publishes, manifest.upcasters) == ("信号灯", [], "")


WRONG = [
    ("name", "Signals", "small letters"), ("team", "Traffic Police", "traffic-police"),
    ("entry", "no class", "module and class"),
    ("grpc", "signals.Service", "citybrain.traffic.v1.TrafficService"), ("port", 80, "1024 to 65535"), ("port", "many", "1024"),
    ("colour", "red", "there is none"), ("subscribs", [], "do you mean subscribes?"), ("title", None, "in English and Chinese"),
    ("publishes", "x", "a list"), ("publishes", {"x": 1}, "a list"),
    ("name", ["signals"], "small letters"), ("title", ["信号灯", "Signals"], "in English and Chinese"),
    ("port", [7100], "1024"), ("entry", {"a": "b"}, "module and class"), ("upcasters", ["a", "b"], "the module that"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "write"), WRONG, ids=[f"{field}-{value}" for field, value, _ in WRONG])
def test_a_wrong_field_is_named_with_its_line_and_what_to_write(tmp_path: Path, field: str, value: object, write: str) -> None:
    before = yaml.safe_dump({name: one for name, one in GOOD.items() if name != field}, allow_unicode=True, sort_keys=False)
    path = write_manifest(tmp_path, before + yaml.safe_dump({field: value}, allow_unicode=True))
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}:{len(before.splitlines()) + 1}: field {field}: ")
    assert write in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_item_of_a_list_is_named_with_its_own_line(tmp_path: Path) -> None:
    text = yaml.safe_dump(GOOD, allow_unicode=True) + "publishes:\n  - citybrain.a.v1.B\n  - [1]\n"
    path = write_manifest(tmp_path, text)
    with pytest.raises(ManifestError, match=f":{len(text.splitlines())}: field publishes: is "):
        read_manifest(path)


READ = "read: {answered: 99.9, within_s: 0.25, part: 99}"


def test_objectives_are_read(tmp_path: Path) -> None:
    text = yaml.safe_dump(GOOD, allow_unicode=True) + f"objectives:\n  {READ}\n  events: {{within_s: 5, part: 99}}\n"
    stated = read_manifest(write_manifest(tmp_path, text)).objectives
    assert stated is not None and stated.read is not None and stated.events is not None and stated.command is None
    assert (stated.read.answered, stated.read.within_s, stated.read.part, stated.events.within_s) == (99.9, 0.25, 99, 5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("command: {answered: 99.9, within_s: 0.3, part: 99}", "objectives.command.within_s: is 0.3: what is promised"),
        ("command: {answered: 80, within_s: 0.25, part: 99}", "objectives.command.answered: is 80"),
        ("command: {answered: 100, within_s: 0.25, part: 99}", "objectives.command.answered: is 100"),
        ("command: {answered: 99.9, within_s: 0.25, part: 94}", "objectives.command.part: is 94"),
        ("command: {answered: 99.9}", "objectives.command.within_s: is missing"),
        ("stream: {answered: 99.9, within_s: 1, part: 99}", "objectives.stream.within_s: is 1"),
        ("events: {within_s: 0, part: 99}", "objectives.events.within_s: is 0"),
        ("night: {answered: 99.9}", "objectives.night: is {'answered': 99.9}"),
        ("command: fast", "objectives.command: is 'fast'"),
    ],
)
def test_a_wrong_objective_is_named_with_its_own_line_and_what_to_write(tmp_path: Path, wrong: str, said: str) -> None:
    text = yaml.safe_dump(GOOD, allow_unicode=True) + f"objectives:\n  {READ}\n  {wrong}\n"
    path = write_manifest(tmp_path, text)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}:{len(text.splitlines())}: field {said}")
    assert "read: {answered: 99.9, within_s: 0.25, part: 99}" in str(caught.value)


def test_a_field_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    text = yaml.safe_dump(GOOD, allow_unicode=True)
    for again in ("port: 7101\n", "port: [\n  7101]\n"):
        path = write_manifest(tmp_path, text + again)
        with pytest.raises(ManifestError, match=f":{len(text.splitlines()) + 1}: field port: stands above already"):
            read_manifest(path)


@pytest.mark.parametrize("field", list(GOOD))
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    path = write_manifest(tmp_path, {name: value for name, value in GOOD.items() if name != field})
    with pytest.raises(ManifestError, match=f"field {field}: is missing: "):
        read_manifest(path)


@pytest.mark.parametrize("value", ["!odd x", "2026-13-45", "&a [*b]"])
def test_a_value_that_yaml_cannot_make_is_named_with_its_line(tmp_path: Path, value: str) -> None:
    path = write_manifest(tmp_path, f"name: signals\ntitle: {value}\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert "cannot be read: " in str(caught.value) and f"{path}" in str(caught.value) and "\n" not in str(caught.value)
    assert value == "&a [*b]" or str(caught.value).startswith(f"{path}:2: field title: ")


@pytest.mark.parametrize("content", ["a: [", "- a list", "", b"\xff\xfe\xff", "name: a\n\tteam: b"])
def test_a_file_that_is_no_manifest_is_one_line_with_its_name(tmp_path: Path, content: str | bytes) -> None:
    path = write_manifest(tmp_path, content)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_manifests_are_found_below_a_folder_by_name_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path / "b", {**GOOD, "name": "bb"})
    write_manifest(tmp_path / "a", {**GOOD, "name": "zz"})
    assert [manifest.name for manifest in find_manifests([tmp_path, tmp_path / "none"])] == ["bb", "zz"]
    write_manifest(tmp_path / "c", {**GOOD, "name": "bb"})
    with pytest.raises(ManifestError, match="choose another name"):
        find_manifests([tmp_path])
