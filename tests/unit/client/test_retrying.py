"""Calls of the client: what is made again, under which id, and what an error says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.district_hub.v1 import district_hub_service_pb2 as pb
from citybrain.district_hub.v1.district_hub_service_pb2_grpc import (
    DistrictHubServiceServicer,
    DistrictHubServiceStub,
    add_DistrictHubServiceServicer_to_server,
)
from grpc_status import rpc_status
from typing_extensions import override

from citybrain.client import City, FileCheckpoint, Place, problem_of, retrying
from citybrain.client.city import _is_here
from citybrain.mesh.errors import (
    AlreadyDifferent,
    BadRequest,
    Overloaded,
    QuotaUsed,
    ServiceError,
    Unauthenticated,
    Unavailable,
    status_of,
)


class Hub(DistrictHubServiceServicer):
    """Answers with the errors it was given, one a call, and then well."""

    def __init__(self) -> None:
        self.errors: list[ServiceError] = []
        self.ids: list[str] = []
        self.tokens: list[str] = []

    @override
    def GetNotice(self, request: Any, context: Any) -> Any:
        metadata = dict(context.invocation_metadata())
        self.ids.append(metadata["x-request-id"])
        self.tokens.append(metadata["authorization"])
        if self.errors:
            context.abort_with_status(rpc_status.to_status(status_of(self.errors.pop(0))))
        return pb.GetNoticeResponse(notice=pb.Notice(notice_id=request.notice_id))


GIVEN = "t"


class Served:
    """A hub, and a client of it."""

    def __init__(self, address: str, hub: Hub) -> None:
        self.address, self.hub = address, hub

    def ask(self, token: Any = GIVEN, timeout_s: float = 30.0, **more: Any) -> Any:
        with City(self.address, token, timeout_s=timeout_s) as city:
            return DistrictHubServiceStub(city.channel).GetNotice(pb.GetNoticeRequest(notice_id="n"), **more).notice.notice_id


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.001)
    hub = Hub()
    server = grpc.server(ThreadPoolExecutor(4))
    add_DistrictHubServiceServicer_to_server(hub, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield Served(address, hub)
    server.stop(None).wait()


def at_once(error: ServiceError) -> ServiceError:
    """The same error, without the wait that the city asks for."""
    vars(error)["retry_after_s"] = None
    return error


def test_a_call_is_made_again_under_the_same_id_until_it_is_answered(served: Served) -> None:
    served.hub.errors = [at_once(error) for error in (Unavailable("away"), Overloaded("too much to do"), Unavailable("away"))]
    assert served.ask() == "n"
    assert len(served.hub.ids) == 4 and len(set(served.hub.ids)) == 1


def test_two_calls_have_two_ids_unless_whoever_calls_gives_one(served: Served) -> None:
    served.ask()
    served.ask()
    served.ask(metadata=[("x-request-id", "mine")])
    assert len(set(served.hub.ids)) == 3 and served.hub.ids[-1] == "mine"


@pytest.mark.parametrize("error", [AlreadyDifferent("d"), BadRequest([("f", "wrong")]), QuotaUsed("all used", 5, {})])
def test_what_waiting_does_not_help_is_not_made_again(served: Served, error: ServiceError) -> None:
    served.hub.errors = [error]
    with pytest.raises(grpc.RpcError) as caught:
        served.ask()
    assert len(served.hub.ids) == 1 and problem_of(caught.value).code is error.code


def test_the_city_says_how_long_to_wait_and_a_call_that_has_not_so_much_time_ends(served: Served) -> None:
    error = Unavailable("later")
    error.retry_after_s = 60
    served.hub.errors = [error]
    with pytest.raises(grpc.RpcError) as caught:
        served.ask(timeout_s=5.0)
    assert problem_of(caught.value).retry_after_s == 60 and len(served.hub.ids) == 1


def test_the_pause_that_the_city_asks_for_is_kept(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    monkeypatch.setattr("time.sleep", paused.append)
    error = Unavailable("later")
    error.retry_after_s = 3
    served.hub.errors = [error]
    assert served.ask() == "n"
    assert paused == [3]


def test_a_token_that_was_renewed_is_taken_up_and_one_that_was_not_is_an_error(served: Served) -> None:
    given = iter(["old", "new", "new", "new"])
    served.hub.errors = [Unauthenticated("it has ended", "TOKEN_ENDED")]
    assert served.ask(lambda: next(given)) == "n"
    assert served.hub.tokens == ["Bearer old", "Bearer new"]
    served.hub.errors = [Unauthenticated("it has ended", "TOKEN_ENDED")] * 2
    with pytest.raises(grpc.RpcError):
        served.ask("old")
    assert served.hub.tokens[2:] == ["Bearer old"]


def test_an_error_tells_its_reason_and_the_fields_that_are_wrong(served: Served) -> None:
    served.hub.errors = [BadRequest([("a.b", "is required"), ("c", "is too long")])]
    with pytest.raises(grpc.RpcError) as caught:
        served.ask()
    problem = problem_of(caught.value)
    assert (problem.reason, problem.fields) == ("BAD_REQUEST", {"a.b": "is required", "c": "is too long"})
    assert "is required" in problem.message and problem.retry_after_s is None


def test_a_call_may_be_made_from_many_threads(served: Served) -> None:
    with City(served.address, "t") as city:
        stub = DistrictHubServiceStub(city.channel)
        threads = [threading.Thread(target=stub.GetNotice, args=(pb.GetNoticeRequest(notice_id="n"),)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(served.hub.ids)) == 8


@pytest.mark.parametrize("token", ["", "  ", "two\nlines", "西湖"])
def test_what_is_no_token_is_refused_before_anything_is_sent(served: Served, token: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(token, encoding="utf-8")
    for given in (token, path, lambda: token):
        with pytest.raises(ValueError, match="there is no token"):
            served.ask(given)
    assert served.hub.ids == []


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1:8080", True), ("localhost:8080", True), ("[::1]:8080", True), ("127.9.9.9:1", True),
        ("10.0.0.1:8080", False), ("city.example:443", False), ("127.0.0.1.example:1", False), ("localhost.example:1", False),
    ],
)  # fmt: skip
def test_only_to_this_machine_a_token_goes_in_plain_text(address: str, here: bool) -> None:
    assert _is_here(address) is here


def test_a_place_is_kept_whole_and_what_is_none_is_refused(tmp_path: Path) -> None:
    kept = FileCheckpoint(tmp_path / "place")
    assert kept.load() == Place()
    kept.save(Place("token", ("a", "b")))
    assert FileCheckpoint(tmp_path / "place").load() == Place("token", ("a", "b"))
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    for text in ("", "[]", "{}", '{"token": "t", "done": 7}'):
        (tmp_path / "place").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="remove it to begin anew"):
            kept.load()
