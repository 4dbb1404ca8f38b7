"""What commands show to people, at the width of a terminal: nothing is cut off, and columns stand below each other."""

from __future__ import annotations

import io

import pytest
from citybrain.mesh.v1 import mesh_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from rich.console import Console, RenderableType

from citybrain.cli import groups, status
from citybrain.cli.status import One, Picture
from citybrain.observability.words import counted


def text(shown: RenderableType, width: int = 80) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, highlight=False).print(shown, soft_wrap=False)
    return file.getvalue().splitlines()


def process(pid: int, service: str, *found: pb.ConsumerGroup) -> One:
    one = pb.ServiceStatus(name=service, ready=True, max_calls=32, groups=found)
    return One(pid, "127.0.0.1:1", service, pb.GetStatusResponse(pid=pid, ready=True, services=[one]))


def group(name: str, role: pb.GroupRole, **others: int) -> pb.ConsumerGroup:
    return pb.ConsumerGroup(name=name, role=role, **others)  # type: ignore[arg-type]


LEADS, STANDS_BY = pb.GROUP_ROLE_LEADS, pb.GROUP_ROLE_STANDS_BY
PICTURE = Picture(
    "data",
    [
        process(1, "health", group("health.view.ambulances", LEADS, position=7, lag=1234567, parked=2)),
        process(2, "emergency_command", group("emergency_command.view.incidents", STANDS_BY, position=1, lag=3765, parked=0)),
    ],
)


def test_the_tables_of_all_processes_stand_below_each_other() -> None:
    lines = text(status.shown(PICTURE))
    heads = [line for line in lines if line.lstrip().startswith("service")]
    assert len(heads) == 2 and len(set(heads)) == 1
    (leads,) = (line for line in lines if "view.ambulances" in line)
    for title, cell in (("position", "7"), ("behind", "1234567"), ("parked", "2")):
        assert leads[: heads[0].index(title) + len(title)].endswith(cell), title


def test_a_group_that_stands_by_does_not_look_as_if_it_were_behind() -> None:
    (line,) = (line for line in text(status.shown(PICTURE)) if "view.incidents" in line)
    assert line.split() == ["view.incidents", "stands", "by"]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_what_is_wrong_with_a_group_is_shown_whole(width: int) -> None:
    trouble = "citybrain.traffic.v1.RoadsPublished at 12: KeyError in fold (views.py:12)"
    failing = pb.ConsumerGroup(name="emergency_command.view.ambulance_list", failing=trouble, lag=4)
    stalled = pb.ConsumerGroup(name="health.view.roads", still=Duration(seconds=40))
    rows = [(1, failing), (2, stalled), (3, pb.ConsumerGroup(name="well"))]
    table = text(groups.table(rows), width)
    assert not any("…" in line for line in table)
    assert list(groups.troubles(rows)) == [
        f"✗ emergency_command.view.ambulance_list (process 1): {trouble}",
        "✗ health.view.roads (process 2): nothing done for 40 s",
    ]


def test_one_is_one_and_more_are_more() -> None:
    assert [counted(number, "process") for number in (0, 1, 2)] == ["0 processes", "1 process", "2 processes"]
    assert [counted(number, "event") for number in (0, 1, 2)] == ["0 events", "1 event", "2 events"]
