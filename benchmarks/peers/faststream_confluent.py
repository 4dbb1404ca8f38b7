"""FastStream on confluent-kafka: a handler for each event of a topic, its place committed behind what was handled, spans on."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from faststream import AckPolicy
from faststream.confluent import KafkaBroker
from faststream.confluent.opentelemetry import KafkaTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider


async def main(options: dict[str, Any]) -> dict[str, float]:
    """Handles `events` of `topic` at `address`, one by one or, where `batch` is not 0, so many at once."""
    middleware = KafkaTelemetryMiddleware(tracer_provider=TracerProvider())
    broker = KafkaBroker(options["address"], middlewares=[middleware], logger=None)
    seen: list[float] = []
    enough = asyncio.Event()
    total = options["events"]

    async def as_sent(message: Any) -> Any:
        return message.body

    def handled(count: int) -> None:
        if not seen:
            seen.extend([time.monotonic(), 0.0, 0.0])
        seen[1] += count
        seen[2] = time.monotonic()
        if seen[1] >= total:
            enough.set()

    common = {"group_id": options["group"], "auto_offset_reset": "earliest", "ack_policy": AckPolicy.ACK, "decoder": as_sent}

    async def hear(event: bytes) -> None:
        assert event
        handled(1)

    async def hear_many(events: list[bytes]) -> None:
        for event in events:
            assert event
        handled(len(events))

    if options["batch"]:
        broker.subscriber(options["topic"], batch=True, max_records=options["batch"], **common)(hear_many)
    else:
        broker.subscriber(options["topic"], **common)(hear)

    async with broker:
        await broker.start()
        await asyncio.wait_for(enough.wait(), options["limit_s"])
    began, count, ended = seen
    return {"handled_per_s": count / (ended - began)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
