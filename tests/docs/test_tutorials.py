"""Each tutorial is done from its first line to its last, as a reader does it: in a folder of its own, in order, in one city."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.test_documents import ROOT, _matches
from tests.helpers.waiting import until

FOLDER = ROOT / "docs" / "tutorials"
BLOCK = re.compile(
    r"(?:<!-- (?P<how>goes on running|until it is so|file: (?P<file>\S+)) -->\n)?```(?P<kind>console|python)\n(?P<text>.*?)```",
    re.S,
)
SANDBOX = "city sandbox"
LIMIT_S = 100


@dataclass
class Running:
    """A program that goes on running, and what it has said so far."""

    process: subprocess.Popen[str]
    said: str = ""

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line

    def says(self, expected: list[str]) -> bool:
        assert self.process.poll() is None, self.said
        return all(_matches(line, self.said) for line in expected)

    def stop(self) -> None:
        # The whole group: the shell that started it, and the program.
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(LIMIT_S)


class Reader:
    """Somebody who does what a tutorial says. All of them share one sandbox, which each of them asks for first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CITY_")},
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "CITY_GATEWAY_PORT": "0",
            "COLUMNS": "200",
        }
        self.sandbox = self.start(SANDBOX)
        until(lambda: self.sandbox.says(["The sandbox answers at"]), self.sandbox, LIMIT_S)
        found = re.search(r"answers at (\S+?)\. ", self.sandbox.said)
        assert found is not None, self.sandbox.said
        self.address = found[1]
        self.environment["CITY_GATEWAY"] = self.address

    def start(self, command: str) -> Running:
        return Running(
            subprocess.Popen(
                ["bash", "-c", command], cwd=self.folder, env=self.environment, text=True, start_new_session=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
        )  # fmt: skip

    def run(self, commands: str) -> subprocess.CompletedProcess[str]:
        shell = ["bash", "-euo", "pipefail", "-c", commands]
        return subprocess.run(
            shell, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )

    def do(self, tutorial: str) -> Iterator[Running]:
        """Does all blocks; yields what goes on running beside the sandbox."""
        for block in BLOCK.finditer(tutorial):
            text = block["text"].replace("127.0.0.1:8080", self.address)
            if block["file"]:
                (self.folder / block["file"]).write_text(text, encoding="utf-8")
                continue
            assert block["kind"] == "console", "python stands in a file that the tutorial names"
            lines = text.splitlines()
            commands = "\n".join(line[2:] for line in lines if line.startswith("$ "))
            expected = [line for line in lines if line.strip() and not line.startswith("$ ")]
            if block["how"] == "goes on running":
                running = self.sandbox if commands == SANDBOX else self.start(commands)
                if running is not self.sandbox:
                    yield running
                until(lambda: running.says(expected), running, LIMIT_S)  # noqa: B023
            elif block["how"] == "until it is so":
                until(lambda: self.run(commands).returncode == 0, commands, LIMIT_S)  # noqa: B023
            else:
                done = self.run(commands)
                assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
                for line in expected:
                    assert _matches(line, done.stdout), f"not in the output: {line}\n{done.stdout}"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("hour"))
    yield reader
    reader.sandbox.stop()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("tutorial", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_the_tutorial_is_done_from_its_first_line_to_its_last(tutorial: Path, reader: Reader) -> None:
    others: list[Running] = []
    try:
        for running in reader.do(tutorial.read_text(encoding="utf-8")):
            others.append(running)
    finally:
        for running in others:
            running.stop()


def test_a_tutorial_begins_with_the_sandbox_and_has_no_block_that_is_not_done() -> None:
    for path in FOLDER.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        first = BLOCK.search(text)
        assert first is not None and first["text"].startswith(f"$ {SANDBOX}\n"), path.name
        assert text.count("```") == 2 * len(BLOCK.findall(text)), f"{path.name} has a block that is neither console nor python"
        assert "not run:" not in text, path.name
