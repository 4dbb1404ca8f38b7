"""Stand-ins for the services that one in development calls."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.traffic_service_pb2_grpc import TrafficServiceStub
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from citybrain.local.contracts import descriptors
from citybrain.local.fake_neighbours import FakeNeighbours
from citybrain.local.problems import Problem

TRAFFIC = "citybrain.traffic.v1.TrafficService"


def fakes(answers: Path, said: list[str]) -> FakeNeighbours:
    return FakeNeighbours(descriptors().read_bytes(), [TRAFFIC], answers, said.append)


def test_a_neighbour_answers_with_an_empty_message_or_what_the_file_says_now_and_each_call_is_told(tmp_path: Path) -> None:
    answers, said = tmp_path / "fakes.yaml", list[str]()
    with fakes(answers, said) as traffic, grpc.insecure_channel(traffic.peers[TRAFFIC]) as channel:
        stub = TrafficServiceStub(channel)
        assert stub.GetSignal(pb.GetSignalRequest(signal_id="s1")) == pb.GetSignalResponse()
        answers.write_text(f"{TRAFFIC}/GetSignal:\n  heldFor: 急救车 1\n", encoding="utf-8")
        assert stub.GetSignal(pb.GetSignalRequest(signal_id="s1")).held_for == "急救车 1"
        assert HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=TRAFFIC)).status == 1
    assert said == [
        f'{TRAFFIC}/GetSignal was asked {{"signalId": "s1"}}, and gave an empty answer',
        f'{TRAFFIC}/GetSignal was asked {{"signalId": "s1"}}, and gave the answer of fakes.yaml',
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"{TRAFFIC}/GetSignals: {{}}", "no neighbour has citybrain.traffic.v1.TrafficService/GetSignals"),
        (f"{TRAFFIC}/GetSignal: {{heldFro: x}}", r"GetSignal: .*heldFro"),
        ("- a list", "write `package.Service/Method"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_file_that_does_not_fit_the_contracts_is_told_at_once_and_at_a_call(tmp_path: Path, text: str, problem: str) -> None:
    answers = tmp_path / "fakes.yaml"
    with fakes(answers, []) as traffic, grpc.insecure_channel(traffic.peers[TRAFFIC]) as channel:
        answers.write_text(text, encoding="utf-8")
        with pytest.raises(grpc.RpcError, match=problem):
            TrafficServiceStub(channel).GetSignal(pb.GetSignalRequest(signal_id="s1"))
    with pytest.raises(Problem, match=problem):
        fakes(answers, [])
