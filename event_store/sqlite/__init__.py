"""The embedded engine: streams and log in one SQLite file."""

from citybrain.event_store.sqlite.store import SqliteEventStore

__all__ = ["SqliteEventStore"]
