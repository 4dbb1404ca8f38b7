"""Makes .github/CODEOWNERS from the manifests: the owners of a service review changes to it and to its contract.

A team's handle is the name it has in its manifest, in the organisation that hosts the repository. Run by `make codeowners`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / ".github" / "CODEOWNERS"
ORGANISATION = "hangzhou-city-brain"
# Folders whose changes touch every service.
KIT = "kit"


def made() -> str:
    """The file as it must be."""
    rows = [f"* @{ORGANISATION}/{KIT}"]
    for path in sorted([*ROOT.glob("services/*/manifest.yaml"), *ROOT.glob("sagas/manifest.yaml")]):
        manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
        owner = f"@{ORGANISATION}/{manifest['team']}"
        contract = manifest["grpc"].split(".")[1]
        rows += ["", f"# {manifest['title']}"]
        rows += [f"/{path.parent.relative_to(ROOT)}/ {owner}", f"/protos/citybrain/{contract}/ {owner}"]
    return "# Made by `make codeowners` from the teams in the manifests.\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    TARGET.write_text(made(), encoding="utf-8")
    sys.exit(0)
