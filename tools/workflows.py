"""Pins the definitions of workflows in sagas/workflows/published.toml, and finds those that were changed after that.

`make workflows` pins what is new. What was pinned is never pinned anew: sagas that run would go on in another way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from citybrain.mesh.manifest import find_manifests
from citybrain.mesh.startup.serve import rooms
from citybrain.sagas.engine import checking
from citybrain.sagas.engine.definition import Workflow
from citybrain.sagas.engine.digests import digest
from citybrain.sagas.workflows import PINS, RETIRED, pins, published

FILE = Path(__file__).resolve().parents[1] / "sagas" / "workflows" / PINS
_HEAD = f"""# The definitions of workflows that were published: name, version, digest. `make workflows` adds what is new.
# A definition that sagas may still be on is never changed: give it another version, and keep the old one.
# "{RETIRED}" in the place of a digest: the definition may go, and sagas that are still on it need a human.
"""


def problems(workflows: Iterable[Workflow], pinned: Mapping[tuple[str, int], str]) -> list[str]:
    """What is wrong with pins and definitions, a line each, with what to do."""
    found = []
    there = {(one.name, one.version): one for one in workflows}
    for (name, version), workflow in there.items():
        what, pin = f"{name}, version {version}", pinned.get((name, version))
        made = digest(workflow)
        if pin is None:
            found.append(f"{what} is not pinned: run `make workflows` when it is as it should be")
        elif pin == RETIRED:
            found.append(f"{what} is retired and still there: take the definition out, or put its digest back ({made})")
        elif pin != made:
            found.append(
                f"{what} was changed after it was published, and sagas may be on it: put it back, and make the change in "
                f"version {max(v for n, v in [*there, *pinned] if n == name) + 1} beside it"
            )
    found += [
        f"{name}, version {version} was published and is gone, and sagas may be on it: put it back, or write "
        f'"{RETIRED}" in the place of its digest'
        for (name, version), pin in pinned.items()
        if pin != RETIRED and (name, version) not in there
    ]
    return found


def unpublished(workflows: Iterable[Workflow]) -> list[str]:
    """Events that workflows hear and no manifest of this repository publishes, a sentence each."""
    workflows = tuple(workflows)
    events = {event for manifest in find_manifests(rooms()) for event in manifest.publishes}
    return [problem for workflow in workflows for problem in checking.problems(workflow, events, workflows)]


def pinned_anew(workflows: Iterable[Workflow], pinned: Mapping[tuple[str, int], str]) -> str:
    """The text of the file with what is new; what was pinned stays as it is."""
    all_pins = {(one.name, one.version): digest(one) for one in workflows} | dict(pinned)
    lines = [_HEAD.rstrip()]
    for name in sorted({name for name, _ in all_pins}):
        lines += ["", f"[{name}]"]
        lines += [f'{version} = "{pin}"' for (n, version), pin in sorted(all_pins.items()) if n == name]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes the file; ends with 1 where a definition was changed after it was published."""
    text = pinned_anew(published(), pins() if FILE.exists() else {})
    FILE.write_text(text, encoding="utf-8")
    found = problems(published(), pins())
    sys.stderr.writelines(f"{FILE.name}: {line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
