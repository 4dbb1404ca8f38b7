"""Readings of a service on real engines: readings in over gRPC, windows out as events, whoever of its processes is killed."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
from citybrain.counting.v1 import counting_service_pb2 as pb
from citybrain.counting.v1 import events_pb2 as ev
from citybrain.counting.v1.counting_service_pb2_grpc import CountingServiceStub

from citybrain.local.child import MeshChild
from citybrain.mesh.manifest import Manifest, read_manifest
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.storage.distributed import Distributed
from tests.helpers.callers import calling

COUNTING = Path(__file__).with_name("counting")
STUBS = Path(__file__).parents[2] / "build" / "tests" / "python"
LIMIT_S = 90.0
BATCHES = 60
PAUSE_S = 0.1


def child(settings: Settings, name: str) -> MeshChild:
    path = os.pathsep.join([str(COUNTING), str(STUBS)])
    return MeshChild(settings.data, ["counting", "--folder", str(COUNTING)], {"PYTHONPATH": path}, settings, name)


def report(stubs: list[Any], number: int) -> int:
    """Reports a batch of a channel of its own, to the first that answers; returns how often it was sent."""
    at = time.time_ns() // 1000
    batch = pb.ReportReadingsRequest(readings=[pb.Reading(channel=f"c{number}", at=at, value=1) for _ in range(10)])
    for tries in range(1, 100):
        try:
            stubs[(number + tries) % len(stubs)].ReportReadings(batch, timeout=LIMIT_S)
            return tries
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
            time.sleep(PAUSE_S)
    raise AssertionError("nobody takes readings")


async def told(settings: Settings, manifest: Manifest, enough: int) -> dict[str, dict[str, Any]]:
    """What was said of each second, as soon as so many channels are in it."""
    engine = await Distributed.open(settings, [manifest])
    try:
        while True:
            found: dict[str, dict[str, Any]] = {}
            for event in await engine.store.read("counting/seconds-all"):
                counted = ev.Counted.FromString(event.data)
                assert counted.second not in found, "a second was told twice"
                found[counted.second] = json.loads(counted.text)
            if len({channel for one in found.values() for channel in one["sums"]}) >= enough:
                return found
            await asyncio.sleep(PAUSE_S)
    finally:
        await engine.close()


def test_each_reading_is_told_in_one_window_through_the_kill_of_whoever_folds(settings: Settings) -> None:
    manifest = read_manifest(COUNTING / "manifest.yaml")
    sent: Counter[str] = Counter()
    with child(settings, "one") as one, child(settings, "two") as two:
        channels = [calling(process) for process in (one, two)]
        stubs = [CountingServiceStub(channel) for channel in channels]
        for number in range(BATCHES):
            # Each is killed once: whichever of the two folds, it is one of them.
            if number == BATCHES // 3:
                one.kill()
            if number == BATCHES // 2:
                one.start()
            if number == 2 * BATCHES // 3:
                two.kill()
            if number == 5 * BATCHES // 6:
                two.start()
            sent[f"c{number}"] = report(stubs, number)
            time.sleep(PAUSE_S)
        found = asyncio.run(asyncio.wait_for(told(settings, manifest, BATCHES), LIMIT_S / 2))
        for channel in channels:
            channel.close()
    sums: Counter[str] = Counter()
    for second in found.values():
        assert (second["late"], second["ahead"]) == (0, 0)
        sums.update(second["sums"])
    once = [channel for channel, tries in sent.items() if tries == 1]
    assert len(once) > BATCHES // 2
    assert {sums[channel] for channel in once} == {10}, "what was taken is told, and once"
    # A batch whose answer was lost may have been taken: who sends it again may have sent it twice.
    assert all(sums[channel] in {10 * times for times in range(1, tries + 1)} for channel, tries in sent.items())
