"""A real Prometheus before a city: it reads what the city's files tell it, with the city's rules."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from tools.prometheus import NotHere, programs

T = TypeVar("T")
LIMIT_S = 60.0
ROOM = Path(__file__).parents[2] / "observability" / "prometheus"


def program(name: str) -> Path:
    """Where a program of Prometheus is; the test is skipped where there is none. `.ci/run` fails there."""
    try:
        return programs()[name]
    except NotHere as error:
        pytest.skip(str(error))


class Prometheus:
    """`with Prometheus(folder, targets) as prometheus`: reads the targets of these files all the time."""

    def __init__(self, folder: Path, targets: Path, rules_of: Sequence[str] = ("*",)) -> None:
        """`rules_of`: the services whose rules are evaluated, and `city` for those of the whole."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        kept = yaml.safe_load((ROOM / "prometheus.yaml").read_text(encoding="utf-8"))
        # As it is kept, but quicker, and with the files of this city. A mesh of all services works for half a second each time.
        kept["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        kept["rule_files"] = [str(ROOM / one.replace("*", name)) for one in kept["rule_files"] for name in rules_of]
        (job,) = kept["scrape_configs"]
        job["file_sd_configs"] = [{"files": [str(targets / "*.json")], "refresh_interval": "500ms"}]
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(kept))

    def __enter__(self) -> Prometheus:
        log = self._folder / "log"
        command = [
            str(program("prometheus")), f"--config.file={self._folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self._folder / 'data'}", "--web.listen-address=127.0.0.1:0",
            "--enable-feature=exemplar-storage",
        ]  # fmt: skip
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        found = self.until(lambda: re.search(r'msg="Listening on" address=(\S+)', log.read_text(encoding="utf-8")))
        self._address = found[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(LIMIT_S)

    def ask(self, path: str, **parameters: str) -> Any:
        """What its API answers."""
        asked = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(asked, timeout=LIMIT_S) as answer:
            return json.load(answer)["data"]

    def values(self, expression: str) -> dict[frozenset[tuple[str, str]], float]:
        """What an expression gives now, by its labels."""
        found = self.ask("query", query=expression)["result"]
        return {frozenset(one["metric"].items()): float(one["value"][1]) for one in found}

    def until(self, condition: Callable[[], T | None]) -> T:
        """Waits until there is something, and returns it."""
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            try:
                found = condition()
            except OSError:
                # It does not answer yet.
                found = None
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"it never came to be: {(self._folder / 'log').read_text(encoding='utf-8')[-2000:]}")
