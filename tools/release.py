"""The version: pyproject.toml says it, and the wheel, the changelog and the tag must agree."""

from __future__ import annotations

import re
from collections.abc import Sequence

HEADING = re.compile(r"^## \[(.+?)\]", re.M)
DEVELOPED = ".dev0"


def disagreements(version: str, changelog: str, tags: Sequence[str]) -> list[str]:
    """What does not agree, a line each. Between releases the version is that of the next one, with `.dev0`."""
    unreleased, *released = HEADING.findall(changelog) or [""]
    found = []
    if unreleased != "Unreleased":
        found.append("CHANGELOG.md: its first heading must be [Unreleased]")
    if version.endswith(DEVELOPED):
        if version.removesuffix(DEVELOPED) in released:
            found.append(f"pyproject.toml: {version} was released already, as CHANGELOG.md says: name the next version")
    elif released[:1] != [version]:
        found.append(f"CHANGELOG.md: its newest release must be [{version}], the version in pyproject.toml")
    found += [f"the tag {tag} stands on version {version}: it must be v{version}" for tag in tags if tag != f"v{version}"]
    return found
