"""Subscribers of the district hub, in a process of their own.

`python -m benchmarks.kit.subscribers ADDRESS COUNT EVENTS` says `listening`, and when all of them together have so many events
one JSON object: events, seconds from the first to the last, processor time, and quantiles of the seconds after the commit.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time

import grpc.aio
from citybrain.district_hub.v1 import district_hub_service_pb2 as pb
from citybrain.district_hub.v1 import events_pb2 as ev
from citybrain.district_hub.v1.district_hub_service_pb2_grpc import DistrictHubServiceStub
from citybrain.traffic.v1 import events_pb2 as traffic

from benchmarks.rows import quantile

TYPES = (ev.DistrictReported, traffic.PriorityGranted)
_EVERY = 37


async def main(address: str, count: int, events: int) -> dict[str, float]:
    """Each subscriber has a connection of its own, as districts have."""
    tokens = os.environ["BENCH_TOKENS"].split()
    late: list[float] = []
    heard, first, last = 0, 0.0, 0.0
    enough = asyncio.Event()
    listening = asyncio.Semaphore(0)

    async def subscriber(number: int) -> None:
        nonlocal heard, first, last
        async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            request = pb.SubscribeRequest(district_id="xihu", event_types=[one.DESCRIPTOR.full_name for one in TYPES])
            request.from_now = count > 1
            metadata = [("authorization", f"Bearer {tokens[number % len(tokens)]}")]
            call = DistrictHubServiceStub(channel).Subscribe(request, metadata=metadata)
            await call.initial_metadata()
            listening.release()
            async for response in call:
                now = time.time()
                if not response.events:
                    continue
                heard += len(response.events)
                first, last = first or time.perf_counter(), time.perf_counter()
                if number % _EVERY == 0:
                    recorded = (event.recorded_at for event in response.events)
                    late.extend(now - (one.seconds + one.nanos / 1e9) for one in recorded)
                if heard >= events:
                    enough.set()

    reading = [asyncio.ensure_future(subscriber(number)) for number in range(count)]
    for _ in range(count):
        await listening.acquire()
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    done, _ = await asyncio.wait([*reading, asyncio.ensure_future(enough.wait())], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        # A subscriber ends by an error only.
        task.result()
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "events": heard, "seconds": last - first, "cpu": used.ru_utime + used.ru_stime,
        "p50": quantile(late, 0.5), "p99": quantile(late, 0.99),
    }  # fmt: skip


if __name__ == "__main__":
    result = asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    sys.stdout.write(json.dumps(result) + "\n")
