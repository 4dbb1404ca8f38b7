"""Mappings from files that people write. They know their lines, so an error can name the line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from citybrain.simulation.errors import ScenarioError

_ID = re.compile(r"[a-zA-Z0-9_.-]{1,60}")


class Row:
    """A mapping of a file. Its methods raise ScenarioError with file, line and field."""

    def __init__(
        self,
        file: Path,
        line: int,
        values: dict[str, Any],
        nodes: Mapping[str, yaml.Node] | None = None,
        lines: Mapping[str, int] | None = None,
    ) -> None:
        self.file = file
        self.line = line
        self.values = values
        self._nodes = nodes or {}
        self._lines = lines or {}

    def wrong(self, field: str, why: str) -> ScenarioError:
        """The error to raise for a field."""
        return ScenarioError(f"{self.file}: line {self._lines.get(field, self.line)}: field {field} {why}")

    def known(self, *fields: str) -> None:
        """Refuses any field but these."""
        for field in self.values:
            if field not in fields:
                raise self.wrong(field, f"is not known here; known: {', '.join(fields)}")

    def get(self, field: str, kind: type | tuple[type, ...], what: str) -> Any:
        """The value of a field. `what` tells people what belongs there."""
        if field not in self.values:
            raise self.wrong(field, f"is missing: {what}")
        value = self.values[field]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.wrong(field, f"is {value!r}, not {what}")
        return value

    def text(self, field: str, what: str) -> str:
        """A text that is not empty."""
        value = str(self.get(field, str, what)).strip()
        if not value:
            raise self.wrong(field, f"is empty: {what}")
        return value

    def name(self, field: str) -> str:
        """A text that can stand in an id."""
        value = self.text(field, "a short name")
        if not _ID.fullmatch(value):
            raise self.wrong(field, f"is {value!r}: letters, digits, '_', '.' and '-' only, at most 60")
        return value

    def count(self, field: str, most: int) -> int:
        """A whole number from 1 to `most`."""
        value = int(self.get(field, int, f"a whole number from 1 to {most}"))
        if not 1 <= value <= most:
            raise self.wrong(field, f"is {value}, not from 1 to {most}")
        return value

    def each(self, field: str) -> Iterator[Row]:
        """The mappings of a list that is not empty."""
        self.get(field, list, "a list")
        node = self._nodes.get(field)
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self.wrong(field, "is empty: at least one is needed")
        for inner in node.value:
            yield _row(self.file, inner, f"each of {field}")

    def inner(self, field: str) -> Row:
        """The mapping that a field holds."""
        self.get(field, dict, "a mapping")
        return _row(self.file, self._nodes[field], field)


def read_text(file: Path) -> str:
    """The text of a file."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{file}: cannot be read: {error}") from None


def yaml_row(file: Path) -> Row:
    """The mapping that a YAML file holds."""
    try:
        node = yaml.compose(read_text(file), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ScenarioError(f"{file}: line {line}: not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ScenarioError(f"{file}: line 1: not YAML: {error}") from None
    if node is None:
        raise ScenarioError(f"{file}: line 1: is empty")
    return _row(file, node, "the file")


def _row(file: Path, node: yaml.Node, what: str) -> Row:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise ScenarioError(f"{file}: line {line}: {what} must be a mapping of fields to values")
    values = {}
    for key, value in node.value:
        try:
            values[str(key.value)] = _plain(value)
        except (yaml.YAMLError, ValueError, TypeError):
            raise ScenarioError(f"{file}: line {value.start_mark.line + 1}: field {key.value} cannot be read") from None
    nodes = {str(key.value): value for key, value in node.value}
    lines = {str(key.value): key.start_mark.line + 1 for key, _ in node.value}
    return Row(file, line, values, nodes, lines)


def _plain(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()
