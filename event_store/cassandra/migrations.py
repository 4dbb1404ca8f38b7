"""Brings keyspaces up to date step by step. Several processes may do this at once.

A released step is never changed: add a new step. Every step can be run twice.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence

from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.distributed.interfaces import TimedOut
from citybrain.event_store.store import StoreError

_CHANGE_S, _TRIES = 20.0, 3

STREAMS = (
    """
    CREATE TABLE IF NOT EXISTS streams (
      stream text, bucket int, kind tinyint, version bigint, id text,
      head bigint static, fence text static,
      type text, data blob, occurred_at bigint, recorded_at bigint, traceparent text, correlation_id text, causation_id text,
      actor text, district text, classification tinyint, sealed blob, at bigint,
      PRIMARY KEY ((stream, bucket), kind, version, id))
    """,
    # A writer is open only if `closed` is false, which `begin` writes once. Null, as a late beat leaves it, counts as closed.
    # The openings under one id are limited, so that their partition can always be read. A replica that was away may bring back
    # rows of a removed writer; it is found silent and adopted again, which changes nothing. So their tombstones need one day.
    "CREATE TABLE IF NOT EXISTS writers (id text PRIMARY KEY, beat bigint, closed boolean) WITH gc_grace_seconds = 86400",
    "CREATE TABLE IF NOT EXISTS open_streams (writer text, stream text, number bigint, PRIMARY KEY (writer, stream, number))"
    " WITH gc_grace_seconds = 86400",
    # Nothing is deleted in these two.
    "CREATE TABLE IF NOT EXISTS marks (shard smallint, stream text, published bigint, bucket int, PRIMARY KEY (shard, stream))",
    """
    CREATE TABLE IF NOT EXISTS stories (
      story text, stream text, version bigint, bucket int,
      PRIMARY KEY (story, stream, version))
    """,
    # A group's rows, by kind: 0 the last version of a stream (`name`), 2 an event that was given up (`position`), 3 a slot for
    # a parked event (`position`: the slot's number). Nothing is deleted here: free slots are overwritten, so there are never
    # more slots than events that were parked at the same time. `at`: the position of the slot's event, 0: the slot is free;
    # `asked`: how often others changed the parked events; `waiting`: how many are parked.
    """
    CREATE TABLE IF NOT EXISTS view_groups (
      service text, grp text, kind tinyint, position bigint, name text,
      epoch bigint static, member text static, turn bigint static, done bigint static,
      asked bigint static, waiting int static, at bigint,
      version bigint, stream text, event_id text, type text, reason text, who text, moment bigint, replay tinyint,
      PRIMARY KEY ((service, grp), kind, position, name))
    """,
    # Nothing is deleted here: the text of a deleted row is empty.
    """
    CREATE TABLE IF NOT EXISTS view_rows (
      service text, name text, shard tinyint, key text, row text, revision bigint, applied frozen<map<text, bigint>>,
      PRIMARY KEY ((service, name, shard), key))
    """,
    # Which processes have written lately, and how often. An entry expires after a day, which only looks like one more change.
    # It expires on all replicas, so none can bring it back, and its tombstone need not stay for ten days.
    """
    CREATE TABLE IF NOT EXISTS view_changes (
      service text, process text, number bigint,
      PRIMARY KEY (service, process)) WITH default_time_to_live = 86400 AND gc_grace_seconds = 3600
    """,
    # One row for each name in these two, and one for each stream in `snapshots`: all are overwritten.
    "CREATE TABLE IF NOT EXISTS timers (service text, name text, last bigint, PRIMARY KEY (service, name))",
    """
    CREATE TABLE IF NOT EXISTS windows (
      service text, name text, closed_until bigint, resume bigint, position bigint,
      PRIMARY KEY (service, name))
    """,
    "CREATE TABLE IF NOT EXISTS snapshots (stream text PRIMARY KEY, version bigint, event_id text, code text, state blob)",
    # One row for each generation of a view. It is never changed.
    "CREATE TABLE IF NOT EXISTS view_folded_by (service text, grp text, shape text, code text, PRIMARY KEY ((service, grp)))",
    # Rows are never changed and expire, all after the same time: files are made one by age, and removed whole.
    """
    CREATE TABLE IF NOT EXISTS requests (
      id blob, caller blob, method text, content blob,
      PRIMARY KEY (id, caller, method, content)) WITH gc_grace_seconds = 86400 AND compaction =
      {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': '1'}
    """,
    # Rows are overwritten during a day, always with the same time to live, and expire.
    """
    CREATE TABLE IF NOT EXISTS quotas (
      day int, part tinyint, consumer blob, class text, process blob, used bigint,
      PRIMARY KEY ((day, part), consumer, class, process)) WITH gc_grace_seconds = 86400 AND compaction =
      {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': '1'}
    """,
)
"""Streams, with read models, snapshots, request ids and what consumers have used beside them."""

# Overwritten values leave the files soon: a table is flushed each hour, and any two of its files are made one.
_SOON_GONE = (
    " WITH memtable_flush_period_in_ms = 3600000 AND compaction = {'class': 'SizeTieredCompactionStrategy',"
    " 'min_threshold': '2', 'min_sstable_size': '1000000000000'}"
)
KEYS = (
    # An erased person keeps a row that says only this. The key is overwritten, not deleted: a deleted one could come back from
    # a node that was away.
    f"""
    CREATE TABLE IF NOT EXISTS persons (
      person text PRIMARY KEY, cipher tinyint, nonce blob, wrapped blob, lookups set<blob>, erased_at bigint)
    {_SOON_GONE}
    """,
    # By kind: 0 the erasure with a number, 1 the number of a person's erasure.
    """
    CREATE TABLE IF NOT EXISTS erasures (
      ledger tinyint, kind tinyint, number bigint, person text, last bigint static, its bigint, at bigint, done boolean,
      PRIMARY KEY (ledger, kind, number, person))
    """,
    f"CREATE TABLE IF NOT EXISTS lookups (digest blob PRIMARY KEY, person text) {_SOON_GONE}",
    "CREATE TABLE IF NOT EXISTS sent (person text, recipient text, id text, events int, at bigint,"
    " PRIMARY KEY (person, recipient, id))",
    # Secrets besides the keys of persons, wrapped by the master key too.
    "CREATE TABLE IF NOT EXISTS secrets (name text PRIMARY KEY, nonce blob, wrapped blob)",
)
"""Keys of persons, in a keyspace of their own: so it can have other users and other backups than the streams."""


async def migrate(place: Place, steps: Sequence[str] = STREAMS) -> None:
    """Brings a keyspace to what this code needs. StoreError: it is newer than the code, or the cluster refuses."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", place.keyspace):
        raise StoreError(f"{place.keyspace!r} is no name of a keyspace: use small letters, digits and _, at most 48")
    asked = await Asked.open(place)
    try:
        table = f"{place.keyspace}.migrations"
        which = f"SELECT step FROM {table} WHERE one = 0"
        try:
            rows = await asked.ask(which)
        except StoreError:
            # The table is missing. The keyspace is made only if it is missing too: the city's user may lack the right to do so.
            there = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = %s"
            if not await asked.ask(there, (place.keyspace,)):
                await _change(asked, f"CREATE KEYSPACE IF NOT EXISTS {place.keyspace} WITH replication = {_replication(place)}")
            await _change(asked, f"CREATE TABLE IF NOT EXISTS {table} (one tinyint, step int, PRIMARY KEY (one, step))")
            rows = await asked.ask(which)
        done = {row[0] for row in rows}
        if newest := max(done - set(range(1, len(steps) + 1)), default=0):
            raise StoreError(
                f"keyspace {place.keyspace} was brought to step {newest} by a newer release, and this one knows {len(steps)}: "
                "run that release, or another keyspace"
            )
        for number, step in enumerate(steps, 1):
            if number not in done:
                await _change(asked, step.replace("IF NOT EXISTS ", f"IF NOT EXISTS {place.keyspace}.", 1))
                await asked.ask(f"INSERT INTO {table} (one, step) VALUES (0, {number})")
    finally:
        asked.close()


async def _change(asked: Asked, cql: str) -> None:
    """Makes one change of the schema. That is slow, above all if several do it at once; each change here may be made twice."""
    for _ in range(_TRIES):
        with contextlib.suppress(TimedOut):
            await asked.ask(cql, answer_s=_CHANGE_S)
            return
    raise StoreError(f"Cassandra has not carried out a change of its tables within {_TRIES * _CHANGE_S:.0f} s: look at its log")


def _replication(place: Place) -> str:
    if not place.replication:
        return "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    copies = ", ".join(f"'{centre}': {number}" for centre, number in sorted(place.replication.items()))
    return f"{{'class': 'NetworkTopologyStrategy', {copies}}}"
