"""A manifest that cannot be used is one line, which names the file and the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from citybrain.mesh.manifest import ManifestError, find_manifests, read_manifest

GOOD: dict[str, Any] = {
    "name": "signals", "title": "信号灯", "team": "traffic", "kind": "sector", "entry": "signals.service:SignalService",
    "grpc": "citybrain.signals.v1.SignalService", "port": 7100,
}  # fmt: skip


def write(folder: Path, content: dict[str, Any] | str | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.yaml"
    text = yaml.safe_dump(content, allow_unicode=True) if isinstance(content, dict) else content
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_good_manifest_is_read_with_its_defaults(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, GOOD))
    assert (manifest.title, manifest.publishes, manifest.objectives.availability_percent) == ("信号灯", [], 99.9)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Signals"), ("kind", "other"), ("entry", "no class"), ("grpc", "signals.Service"), ("port", 80),
        ("port", "many"), ("colour", "red"), ("objectives.availability_percent", 101), ("title", None), ("publishes", "x"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_in_one_line(tmp_path: Path, field: str, value: object) -> None:
    outer, _, inner = field.partition(".")
    path = write(tmp_path, {**GOOD, outer: {inner: value} if inner else value})
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)
    assert f"field {field}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["name", "title", "team", "kind", "entry", "grpc", "port"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    path = write(tmp_path, {name: value for name, value in GOOD.items() if name != field})
    with pytest.raises(ManifestError, match=f"field {field}: "):
        read_manifest(path)


@pytest.mark.parametrize("content", ["a: [", "- a list", "", b"\xff\xfe\xff", "name: a\n\tteam: b"])
def test_a_file_that_is_no_manifest_is_one_line_with_its_name(tmp_path: Path, content: str | bytes) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_manifests_are_found_below_a_folder_by_name_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "b", {**GOOD, "name": "bb"})
    write(tmp_path / "a", {**GOOD, "name": "zz"})
    assert [manifest.name for manifest in find_manifests([tmp_path, tmp_path / "none"])] == ["bb", "zz"]
    write(tmp_path / "c", {**GOOD, "name": "bb"})
    with pytest.raises(ManifestError, match="choose another name"):
        find_manifests([tmp_path])
