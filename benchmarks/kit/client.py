"""Calls as fast as a server answers, from a process of its own.

`python -m benchmarks.kit.client ADDRESS METHOD CALLERS SECONDS` prints one JSON object: calls, seconds, and quantiles of what a
call took in seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import grpc.aio
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.traffic_service_pb2_grpc import TrafficServiceStub

from benchmarks.rows import quantile

_STREAMS = 1000


async def main(address: str, method: str, callers: int, seconds: float) -> dict[str, float]:
    """Four callers share a channel. The first second is not counted."""
    taken: list[float] = []
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(max(1, callers // 4))]
    stubs = [TrafficServiceStub(channel) for channel in channels]
    # One caller alone has a share of the places: so each channel is a caller of its own.
    tokens = os.environ.get("BENCH_TOKENS", "").split()
    known = [[("authorization", f"Bearer {token}")] for token in tokens] or [[]]
    begin = time.perf_counter() + 1
    end = begin + seconds

    async def caller(number: int) -> None:
        stub, metadata = stubs[number % len(stubs)], known[number % len(stubs) % len(known)]
        turn = number
        while (now := time.perf_counter()) < end:
            turn += callers
            signal = f"signal-{turn % _STREAMS}"
            if method == "GetSignal":
                await stub.GetSignal(pb.GetSignalRequest(signal_id=signal), timeout=30, metadata=metadata)
            else:
                report = pb.ReportSignalRequest(signal_id=signal, command_id="c", report=pb.SIGNAL_REPORT_STARTED)
                await stub.ReportSignal(report, timeout=30, metadata=metadata)
            if now >= begin:
                taken.append(time.perf_counter() - now)

    await asyncio.gather(*(caller(number) for number in range(callers)))
    for channel in channels:
        await channel.close(None)
    return {"calls": len(taken), "seconds": seconds, "p50": quantile(taken, 0.5), "p99": quantile(taken, 0.99)}


if __name__ == "__main__":
    result = asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
    sys.stdout.write(json.dumps(result) + "\n")
