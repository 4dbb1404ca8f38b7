"""The log lines of an incident: from the files of a city on this machine, which are begun anew when they are full, and so are
bounded; or from where a cluster keeps them, through a file or a pipe.
"""

from __future__ import annotations

import heapq
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from citybrain.local.problems import Problem
from citybrain.observability import names

MOST = 500
"""The newest, at most so many."""
STANDARD_INPUT = "-"
_BLOCK = 1 << 20
_OF_TRACE = re.compile(rb'"trace_id": ?"(.{32})')
_ACCESS = ("grpc_status", "status", "duration_ms", "details", "upstream_failure")
_FIRST = ("time", "level", "service", "message", "incident_id")


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line. `more`: its other fields, as they stand there."""

    at_ns: int
    level: str
    service: str
    message: str
    trace_id: str
    more: str


def files(data: Path) -> list[Path]:
    """The log files of a data folder, the older ones of each first."""
    found = [path for path in data.glob("*.log*") if path.is_file()]
    return sorted(found, key=lambda path: (path.name.partition(".log")[0], -_number(path)))


def _number(path: Path) -> int:
    last = path.name.rpartition(".")[2]
    return int(last) if last.isdigit() else 0


def lines_of(incident_id: str, traces: Iterable[str], sources: Sequence[Path], most: int = MOST) -> tuple[list[LogLine], bool]:
    """The lines of an incident and of its traces, in the order of time; and whether there were more. `-` is standard input.

    Problem: a source cannot be read.
    """
    wanted = set(traces)

    def every() -> Iterator[LogLine]:
        for source in sources:
            for text in _candidates(source, incident_id.encode(), frozenset(one.encode() for one in wanted)):
                if (line := read(text, incident_id, wanted)) is not None:
                    yield line

    # Not the last of each source: where several pods stand one after the other, those would be the lines of one pod.
    newest = heapq.nlargest(most + 1, every(), key=lambda line: line.at_ns)
    return sorted(newest[:most], key=lambda line: line.at_ns), len(newest) > most


def _candidates(source: Path, incident_id: bytes, traces: frozenset[bytes]) -> Iterator[str]:
    """The lines in which the id stands, or one of the traces. Full files are large, so most lines are not even taken apart."""
    try:
        with _opened(source) as file:
            while block := file.read(_BLOCK):
                block += file.readline()
                at = list(_places(incident_id, block))
                # Most blocks have none of them, and that is told sooner than where they are.
                if not traces.isdisjoint(_OF_TRACE.findall(block)):
                    at += [found.start() for found in _OF_TRACE.finditer(block) if found[1] in traces]
                for begin in sorted({block.rfind(b"\n", 0, one) + 1 for one in at}):
                    end = block.find(b"\n", begin)
                    yield block[begin : end if end >= 0 else None].decode(errors="replace")
    except OSError as error:
        raise Problem(f"{source} cannot be read: {error.strerror}: name a file of log lines, or - for standard input") from None


def _places(what: bytes, block: bytes) -> Iterator[int]:
    at = block.find(what)
    while at >= 0:
        yield at
        at = block.find(what, at + len(what))


def _opened(source: Path) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if str(source) == STANDARD_INPUT else source.open("rb")


def read(text: str, incident_id: str, traces: Set[str]) -> LogLine | None:
    """One line. None: it is no line of a log in JSON, or it is of another incident.

    What stands before the JSON is passed over: `kubectl logs` can be told to write pod and time there.
    """
    try:
        said = json.loads(text[max(0, text.find("{")) :])
        at = datetime.fromisoformat(said["time"])
    except (ValueError, KeyError, TypeError):
        return None
    trace_id = str(said.get("trace_id", ""))
    if said.get("incident_id") != incident_id and not (trace_id and "incident_id" not in said and trace_id in traces):
        return None
    if "service" not in said:
        # A line of the gateway's access log.
        said = {"level": "info", "service": names.GATEWAY, **_access(said)}
    more = {name: value for name, value in said.items() if name not in (*_FIRST, "trace_id", "span_id", "version")}
    level, service, message = (str(said.get(name, "")) for name in ("level", "service", "message"))
    told = ", ".join(_field(name, value) for name, value in more.items())
    return LogLine(int(at.timestamp() * 1e6) * 1000, level, service, message, trace_id, told)


def _access(said: Mapping[str, Any]) -> dict[str, Any]:
    return {"message": f"{said.get('http_method')} {said.get('path')}", **{one: said[one] for one in _ACCESS if said.get(one)}}


def _field(name: str, value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{name}={text if len(text) <= 200 else text[:199] + '…'}"
