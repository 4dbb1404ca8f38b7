"""The simulation's line to the gateway: what is retried, what is given up, and what is said then."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from citybrain.clock.v1 import clock_pb2 as clock
from citybrain.health.v1 import health_service_pb2 as health
from typing_extensions import override

from citybrain.simulation.__main__ import main
from citybrain.simulation.errors import GatewayLost
from citybrain.simulation.gateway_client import Gateway, Refused
from citybrain.simulation.record import Record

LIST = "citybrain.health.v1.HealthService/ListHospitals"


class Answers(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Answers ListHospitals with one code after another, then well; and always knows the time."""

    def __init__(self, *codes: grpc.StatusCode) -> None:
        self.codes = list(codes)
        self.request_ids: list[str] = []
        self.times_told = 0

    @override
    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:  # type: ignore[type-arg]
        """Both methods."""
        if details.method.endswith("/Advance"):
            return grpc.unary_unary_rpc_method_handler(self._advance, response_serializer=bytes)
        self.request_ids += [str(v) for k, v in details.invocation_metadata if k == "x-request-id"]
        return grpc.unary_unary_rpc_method_handler(self._list, response_serializer=bytes)

    def _advance(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.times_told += 1
        return b""

    def _list(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if self.codes:
            context.abort(self.codes.pop(0), "as told")
        return health.ListHospitalsResponse(hospitals=[health.Hospital(hospital_id="h")]).SerializeToString()


def served(answers: Answers) -> Iterator[str]:
    """An address at which these answers are given."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([answers])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def ask(gateway: Gateway) -> health.ListHospitalsResponse:
    return gateway.call(LIST, health.ListHospitalsRequest(), health.ListHospitalsResponse, "hospitals")


def test_nobody_there_is_asked_again_under_the_same_request_id_after_being_told_the_time(tmp_path: Path) -> None:
    answers = Answers(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
    for address in served(answers):
        with Record(tmp_path / "r") as record, Gateway(address, "a-token", 5, record) as gateway:
            gateway.advance(100)
            assert ask(gateway).hospitals[0].hospital_id == "h"
    assert answers.request_ids == ["simulation-5-hospitals"] * 3
    assert answers.times_told == 3
    assert '"hospital_id":"h"' in (tmp_path / "r").read_text().splitlines()[-1]


def test_a_no_is_not_asked_again() -> None:
    answers = Answers(grpc.StatusCode.FAILED_PRECONDITION)
    for address in served(answers):
        with Record(None) as record, Gateway(address, "a-token", 5, record) as gateway, pytest.raises(Refused, match="as told"):
            ask(gateway)
    assert len(answers.request_ids) == 1


def test_a_service_that_stays_away_while_the_mesh_is_there_can_be_done_without() -> None:
    answers = Answers(*[grpc.StatusCode.UNAVAILABLE] * 50)
    for address in served(answers):
        with Record(None) as record, Gateway(address, "a-token", 5, record) as gateway:
            gateway.advance(100)
            for number in range(3):
                request = health.ListHospitalsRequest()
                assert gateway.call_if_there(LIST, request, health.ListHospitalsResponse, f"{number}") is None
            assert gateway.dropped == 3
    # Once it is known to be away, it is tried once a call.
    assert len(answers.request_ids) < 8


def test_a_gateway_that_does_not_come_back_is_one_clear_error() -> None:
    with socket.socket() as bound:
        # Bound but not listening: nobody else gets this port, and nobody answers on it.
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        lost = pytest.raises(GatewayLost, match=f"{address}: .*is the mesh running")
        with Record(None) as record, Gateway(address, "a-token", 1, record, wait_s=0.5) as gateway, lost:
            gateway.call("citybrain.clock.v1.ClockService/Rest", clock.RestRequest(), clock.RestResponse, "rest")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["city", "--scenario", "nowhere.sumocfg"], "nowhere.sumocfg: there is no such file"),
        (["city", "--city", "atlantis"], "no city is called 'atlantis'"),
        (["ordinary"], "--scenario is missing"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_name_in_any_script_is_a_request_id_of_its_own() -> None:
    letters = [chr(code) for code in (*range(0x20, 0x180), *range(0x4E00, 0x4E20)) if chr(code).isprintable()]
    answers = Answers()
    for address in served(answers):
        with Record(None) as record, Gateway(address, "a-token", 1, record) as gateway:
            for letter in letters:
                name = f"signal-{letter}-{letter}"
                gateway.call(LIST, health.ListHospitalsRequest(), health.ListHospitalsResponse, name)
    assert len(set(answers.request_ids)) == len(letters)
