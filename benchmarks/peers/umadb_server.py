"""UmaDB: its server as a process, its clients over gRPC on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from umadb import Client, Event

_START_S = 20.0


def main(options: dict[str, Any]) -> dict[str, float]:
    """`writers` clients append single events for `seconds`; `read`: the log once; `live`: when an append is heard."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    program = str(Path(sys.executable).parent / "umadb")
    server = subprocess.Popen(
        [program, "--listen", address, "--db-path", str(Path(options["folder"]) / "uma.db")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"http://{address}"
        answering(url)
        result: dict[str, float] = {}
        if options.get("seconds"):
            result["appends_per_s"] = append(url, options)
        if events := options.get("read"):
            result["reads_per_s"] = read(url, events, options["payload"])
        if events := options.get("live"):
            result.update(live(url, events, options["payload"]))
        return result
    finally:
        server.terminate()
        server.wait()


def answering(url: str) -> None:
    """Waits until the server answers."""
    end = time.monotonic() + _START_S
    while True:
        try:
            Client(url).head()
            return
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def happened(stream: int, size: int) -> Event:
    """One event of a stream."""
    return Event(event_type="Happened", data=b"x" * size, tags=[f"stream-{stream}"], uuid=uuid.uuid4())


def append(url: str, options: dict[str, Any]) -> float:
    """Appends a second."""
    writers = options["writers"]
    counts = [0] * writers
    end = time.monotonic() + options["seconds"]

    def write(number: int) -> None:
        client = Client(url)
        mine = range(number, options["streams"], writers)
        while time.monotonic() < end:
            client.append([happened(mine[counts[number] % len(mine)], options["payload"])])
            counts[number] += 1

    began = time.monotonic()
    with ThreadPoolExecutor(writers) as threads:
        list(threads.map(write, range(writers)))
    return sum(counts) / (time.monotonic() - began)


def read(url: str, events: int, size: int) -> float:
    """Fills a log, then reads all of it."""
    client = Client(url)
    before = len(list(client.read()))
    for first in range(0, events, 1000):
        client.append([happened(number % 1000, size) for number in range(first, first + 1000)])
    began = time.monotonic()
    seen = sum(1 for _ in client.read())
    took = time.monotonic() - began
    assert seen == before + events, seen
    return seen / took


def live(url: str, events: int, size: int) -> dict[str, float]:
    """Milliseconds from the call of an append, through its commit, until a subscriber has the event."""
    heard: dict[str, float] = {}
    enough = threading.Event()

    def hear() -> None:
        # A client that nobody holds ends its subscriptions.
        listener = Client(url)
        for found in listener.subscribe(after=listener.head()):
            heard[str(found.event.uuid)] = time.monotonic()
            if len(heard) >= events:
                enough.set()
                return

    threading.Thread(target=hear, daemon=True).start()
    time.sleep(0.5)
    client, called = Client(url), {}
    for number in range(events):
        event = happened(number % 1000, size)
        called[str(event.uuid)] = time.monotonic()
        client.append([event])
        time.sleep(0.002)
    assert enough.wait(30), len(heard)
    late = sorted((heard[one] - when) * 1000 for one, when in called.items())
    return {"live_p50_ms": late[len(late) // 2], "live_p99_ms": late[len(late) * 99 // 100]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))
