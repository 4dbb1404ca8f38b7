"""What writers were told, kept outside of the system, against what its streams and its log hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from citybrain.event_store.store import EventStore, StoredEvent

Told = Mapping[str, tuple[str, int]]
"""Event id to its stream and version."""


async def compare(
    told: Told, store: EventStore, log: Iterable[StoredEvent], unknown: Collection[str] = ()
) -> dict[str, list[str]]:
    """Every event is once in its stream, where its writer was told, and comes out of the log in that order; and no other is.

    `unknown`: ids of which nobody was told anything: each is there, once, or nowhere. Returns what each stream holds.
    """
    wanted: dict[str, dict[int, str]] = defaultdict(dict)
    for name, (stream, version) in told.items():
        assert version not in wanted[stream], f"two appends were told version {version} of {stream}"
        wanted[stream][version] = name
    heard: dict[str, list[str]] = defaultdict(list)
    for record in log:
        if record.version == len(heard[record.stream]) + 1:
            heard[record.stream].append(record.id)
        # What comes twice is what came before; nothing comes too soon.
        before = heard[record.stream]
        assert before[record.version - 1 : record.version] == [record.id], (
            f"{record.stream} {record.version} ({record.id}, position {record.position}) came when {len(before)} had come"
        )
    streams: dict[str, list[str]] = {}
    for stream in wanted.keys() | heard.keys():
        kept = await store.read(stream, limit=1_000_000)
        assert [one.version for one in kept] == list(range(1, len(kept) + 1))
        assert {one.version: one.id for one in kept if one.id not in unknown} == wanted[stream]
        streams[stream] = [one.id for one in kept]
        assert heard[stream] == streams[stream]
    everything = [name for names in streams.values() for name in names]
    assert len(set(everything)) == len(everything), "an id stands twice"
    return streams
