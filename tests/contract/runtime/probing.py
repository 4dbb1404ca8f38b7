"""A process of a runtime with the probe in it, and what the suites say to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import grpc
import pytest
from citybrain.clock.v1 import clock_pb2
from citybrain.clock.v1.clock_pb2_grpc import ClockServiceStub
from citybrain.probe.v1 import probe_service_pb2 as pb
from citybrain.probe.v1.probe_service_pb2_grpc import NeighbourServiceStub, ProbeServiceStub

from tests.helpers.callers import bearer, calling, service_bearer

PROBE = Path(__file__).parent / "probe"
T = TypeVar("T")
LIMIT_S = 60.0
LOOK_S = 0.01
Metadata = list[tuple[str, str]]


class Running(Protocol):
    """A process that hosts services of the kit: what a suite does to it."""

    address: str
    log_path: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    def start(self) -> str:
        """Starts it on the port it had; returns when it answers."""
        ...

    def stop(self) -> int:
        """Asks it politely to stop, waits, returns its exit code."""
        ...

    def kill(self) -> None:
        """SIGKILL."""
        ...


class RuntimeContract:
    """Base of the suites."""

    @staticmethod
    def launch(
        data: Path, folder: Path, services: Sequence[str], *, driven: bool, port: int, environment: dict[str, str]
    ) -> Running:
        """A process that is not started yet: the services of a folder, on files in `data`, at a port; time driven or not."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def shared(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
        """A probe that all tests of the class share: they must not end it."""
        with self.probe(tmp_path_factory.mktemp("probe")) as probe:
            yield probe

    @contextmanager
    def probe(
        self,
        data: Path,
        *services: str,
        driven: bool = False,
        port: int = 0,
        environment: dict[str, str] | None = None,
    ) -> Iterator[Probe]:
        """A probe of one's own, that may be stopped and killed."""
        running = self.launch(data, PROBE, services or ("probe",), driven=driven, port=port, environment=environment or {})
        running.start()
        probe = Probe(running)
        try:
            yield probe
        finally:
            probe.close()
            running.stop()


class Probe:
    """Talks to a process in which the probe runs."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self._connect()

    def _connect(self) -> None:
        self.channel = calling(self.running)
        self.stub = ProbeServiceStub(self.channel)
        self.neighbour = NeighbourServiceStub(self.channel)

    def close(self) -> None:
        """Lets go of the channel."""
        self.channel.close()

    def again(self) -> None:
        """Starts the process once more, on its files and port."""
        self.channel.close()
        self.running.start()
        self._connect()

    def known_as(self, caller: str, **claims: Any) -> Metadata:
        """The metadata of a call by this caller, who may do everything, or only what `claims` say."""
        return [bearer(self.running.log_path.parent, caller, **claims)]

    def from_service(self, service: str) -> Metadata:
        """The metadata of a call by a service of the mesh."""
        return [service_bearer(self.running.log_path.parent, service)]

    def do(self, how: str, name: str = "", timeout: float = LIMIT_S, metadata: Metadata | None = None) -> str:
        """What the probe answers."""
        return str(self.stub.Do(pb.DoRequest(how=how, name=name), timeout=timeout, metadata=metadata).text)

    def write(self, key: str, text: str, request_id: str = "", metadata: Metadata | None = None) -> int:
        """Writes one event; returns how many its stream holds then."""
        sent = [*(metadata or []), *([("x-request-id", request_id)] if request_id else [])]
        return int(self.stub.Write(pb.WriteRequest(key=key, text=text), timeout=LIMIT_S, metadata=sent).count)

    def notes(self, name: str) -> list[str]:
        """What the process has noted."""
        return list(self.stub.ListNotes(pb.ListNotesRequest(name=name), timeout=LIMIT_S).notes)

    def heard(self, name: str) -> list[str]:
        """The same where the neighbour runs."""
        return list(self.neighbour.ListHeard(pb.ListHeardRequest(name=name), timeout=LIMIT_S).notes)

    def until_notes(self, name: str, enough: Callable[[list[str]], object]) -> list[str]:
        """The notes, once they are enough."""
        return until(lambda: self.notes(name), enough)

    def settled(self, look: Callable[[], Any]) -> Any:
        """What is seen once it does not change any more for a while."""
        seen, same = look(), 0
        while same < 20:
            threading.Event().wait(LOOK_S)
            now = look()
            same = same + 1 if now == seen else 0
            seen = now
        return seen

    def advance(self, seconds: int) -> None:
        """Moves city time to so many seconds after 1970, and waits until nothing is left to do."""
        clock = ClockServiceStub(self.channel)
        request = clock_pb2.AdvanceRequest()
        request.time.seconds = seconds
        clock.Advance(request, timeout=LIMIT_S)
        clock.Rest(clock_pb2.RestRequest(), timeout=LIMIT_S)

    def rest(self) -> None:
        """Waits until nothing is left to do."""
        ClockServiceStub(self.channel).Rest(clock_pb2.RestRequest(), timeout=LIMIT_S)


def until(look: Callable[[], T], enough: Callable[[T], object]) -> T:
    """What is seen, once it is enough."""
    end = time.monotonic() + LIMIT_S
    while True:
        seen = look()
        if enough(seen):
            return seen
        assert time.monotonic() < end, f"never came; seen at last: {seen}"
        threading.Event().wait(LOOK_S)


def refusal(work: Callable[[], object]) -> grpc.Call:
    """The error that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        work()
    return cast(grpc.Call, caught.value)
