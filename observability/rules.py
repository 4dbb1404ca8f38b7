"""Rules for Prometheus as its files have them: groups of recording rules and alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from citybrain.observability.numbers import label

PAGE, TICKET = "page", "ticket"
"""Severities: somebody is woken; somebody looks on the next day."""


@dataclass(frozen=True, slots=True)
class Record:
    """A recording rule: what an expression gives is kept under a name."""

    name: str
    expression: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """As in the file."""
        return {"record": self.name, "expr": self.expression, **({"labels": dict(self.labels)} if self.labels else {})}


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert: fires when an expression has given something for so long (`lasts`; empty: at once)."""

    name: str
    expression: str
    lasts: str
    severity: str
    summary: str
    description: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """As in the file. Each alert has a page that says what to do."""
        return {
            "alert": self.name,
            "expr": self.expression,
            **({"for": self.lasts} if self.lasts else {}),
            "labels": {"severity": self.severity, **self.labels},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook": f"docs/runbooks/{self.name}.md",
            },
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are computed one after the other."""

    name: str
    rules: Sequence[Record | Alert]


def rule_files(groups: Sequence[Group]) -> str:
    """The text of a file of rules."""
    told = {"groups": [{"name": group.name, "rules": [rule.told() for rule in group.rules]} for group in groups]}
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=1_000_000)


def matcher(wanted: Mapping[str, str]) -> str:
    """What stands between the braces of a selector."""
    return ",".join(f'{label(name)}="{value}"' for name, value in wanted.items())
