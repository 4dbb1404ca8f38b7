"""Every fenced `console` and `python` block of the README and the docs runs, or says beside it why it does not.

A python block behind `<!-- goes on -->` runs after those above it, as one script.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typing_extensions import override

from citybrain.local.city import LocalCity
from citybrain.mesh.settings.values import Settings

ROOT = Path(__file__).resolve().parents[2]
# Tutorials are done as a whole: test_tutorials.py.
PAGES = [path for path in sorted((ROOT / "docs").rglob("*.md")) if path.parent.name != "tutorials"]
DOCUMENTS = [ROOT / "README.md", *PAGES, *sorted(ROOT.glob("services/*/README.md"))]
BLOCK = re.compile(
    r"(?:<!-- (?:not run: (?P<reason>.+?)|(?P<goes_on>goes on)) -->\n)?```(?P<kind>console|python)\n(?P<text>.*?)```", re.S
)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    document: Path
    line: int
    kind: str
    text: str
    reason: str

    @override
    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks() -> list[Block]:
    found = []
    for document in DOCUMENTS:
        text, above = document.read_text(encoding="utf-8"), ""
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start("kind")) + 1
            whole = above + match["text"] if match["goes_on"] else match["text"]
            above = whole if match["kind"] == "python" else above
            found.append(Block(document, line, match["kind"], whole, match["reason"] or ""))
    return found


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCity]:
    with LocalCity(Settings(data=tmp_path_factory.mktemp("docs"))) as running:
        yield running


@pytest.mark.parametrize("block", [b for b in blocks() if not b.reason], ids=str)
def test_the_block_runs(block: Block, city: LocalCity, tmp_path: Path) -> None:
    assert city.gateway is not None
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "CITY_GATEWAY": city.gateway.address,
        "CITY_DATA": str(city.data),
    }
    text = block.text.replace("127.0.0.1:8080", city.gateway.address)
    if block.kind == "python":
        command = [sys.executable, "-c", text]
    else:
        lines = [line[2:] for line in text.splitlines() if line.startswith(("$ ", "> "))]
        assert lines, "a console block shows its commands behind `$ `"
        command = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = [line for line in text.splitlines() if block.kind == "console" and not line.startswith(("$ ", "> "))]
    for line in filter(str.strip, expected):
        assert _matches(line, done.stdout), f"not in the output: {line}\n{done.stdout}"


def _matches(line: str, output: str) -> bool:
    """An output line stands in the output; `…` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in line.strip().split("…"))
    return re.search(pattern, output) is not None


def test_a_block_that_is_not_run_says_why() -> None:
    for block in blocks():
        assert block.reason == "" or len(block.reason) > 10, str(block)


def test_the_chinese_readme_has_the_same_commands_and_as_many_headings() -> None:
    def shape(path: Path) -> tuple[list[str], list[int]]:
        text = path.read_text(encoding="utf-8")
        commands = [line for match in BLOCK.finditer(text) for line in match["text"].splitlines() if line.startswith("$ ")]
        headings = [len(m.group(1)) for m in re.finditer(r"^(#+) ", re.sub(r"```.*?```", "", text, flags=re.S), re.M)]
        return commands, headings

    assert shape(ROOT / "README.zh-CN.md") == shape(ROOT / "README.md")
