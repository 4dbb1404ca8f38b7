"""kit-unary and kit-command: what a call costs on the kit, beside bare parts that do the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from benchmarks.rows import Aim, Row
from tests.helpers.callers import token

_CALLERS = 32
_QUIET = {"OTEL_SDK_DISABLED": "true", "CITY_LOG_LEVEL": "error"}
SERVICES = Path(__file__).parent / "services"
# Milliseconds by which the kit may be slower for a single caller.
_LATER = Aim(0.3, "difference", least=False)


def unary(seconds: float = 5.0, rounds: int = 3) -> list[Row]:
    """A call that answers at once."""
    return _compare("kit-unary", "GetSignal", "bare grpc.aio", seconds, rounds, Aim(0.65))


def command(seconds: float = 5.0, rounds: int = 3) -> list[Row]:
    """A command that loads, decides, appends durably and answers."""
    return _compare("kit-command", "ReportSignal", "bare grpc.aio + bare SQLite group commit", seconds, rounds, Aim(0.6))


def _compare(name: str, method: str, peer: str, seconds: float, rounds: int, aim: Aim) -> list[Row]:
    """The kit and its peer in turns; the best round of each counts."""
    with tempfile.TemporaryDirectory() as folder, kit(Path(folder)) as on_kit, _bare(Path(folder)) as bare:
        sides = {"kit": on_kit, "bare": bare}
        done: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, process in sides.items():
                done[side].append(drive(process, Path(folder), method, _CALLERS, seconds))
        alone = {side: drive(process, Path(folder), method, 1, seconds / 2) for side, process in sides.items()}
    best = {side: max(results, key=lambda r: r["calls"]) for side, results in done.items()}
    cost = {side: min(r["cpu"] / r["calls"] for r in results) * 1e6 for side, results in done.items()}
    return [
        Row(name, best["kit"]["calls"] / seconds, "calls/s", peer, best["bare"]["calls"] / seconds, aim),
        Row(f"{name} p50, {_CALLERS} callers", best["kit"]["p50"] * 1000, "ms", peer, best["bare"]["p50"] * 1000),
        Row(f"{name} p50, alone", alone["kit"]["p50"] * 1000, "ms", peer, alone["bare"]["p50"] * 1000, _LATER),
        Row(f"{name} processor time", cost["kit"], "µs a call", peer, cost["bare"]),
    ]


def drive(server: subprocess.Popen[str], data: Path, method: str, callers: int, seconds: float) -> dict[str, float]:
    """Calls a server of `kit` as fast as it answers; `data`: its folder."""
    address = server.args[-1] if isinstance(server.args, list) else ""
    before = _cpu(server.pid)
    command = [sys.executable, "-m", "benchmarks.kit.client", str(address), method, str(callers), str(seconds)]
    tokens = " ".join(token(data, f"caller-{number}") for number in range(max(1, callers // 4)))
    environment = {**os.environ, "BENCH_TOKENS": tokens}
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    result: dict[str, float] = json.loads(answer)
    # The calls of the first second are not counted, nor is their share of the work.
    result["cpu"] = (_cpu(server.pid) - before) * seconds / (seconds + 1)
    return result


def processor_s(pids: Iterable[int]) -> float:
    """Processor time of some processes so far, in seconds."""
    return sum(map(_cpu, pids))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def kit(
    folder: Path, service: str = "bench", *, environment: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """One of the services of the benchmark in a process of its own, on the kit. Without more it tells nothing of itself."""
    command = [
        sys.executable,
        "-m",
        "citybrain.mesh.startup.serve",
        service,
        "--folder",
        str(SERVICES),
        "--data",
        str(folder),
        "--port",
        "0",
    ]
    told = ["--log", str(log)] if log is not None else []
    with _server([*command, *told, "--tethered"], environment or {}) as server:
        yield server


@contextmanager
def _bare(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with _server([sys.executable, "-m", "benchmarks.kit.bare", str(folder / "bare.db")]) as server:
        yield server


@contextmanager
def _server(command: list[str], environment: Mapping[str, str] = MappingProxyType({})) -> Iterator[subprocess.Popen[str]]:
    """A server that prints its address and stops when its input ends. The address becomes the client's last argument."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **_QUIET, **environment}) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        server.args = [*command, json.loads(server.stdout.readline())["ready"]]
        try:
            yield server
        finally:
            server.stdin.close()
            server.wait(30)
