"""The embedded engine: everything in SQLite files of one data folder.

| module | what it is about |
|---|---|
| `store.py` | streams and log, in `events.db`: one thread writes, many read |
| `writing.py`, `reading.py`, `file.py` | one transaction of many appends; reading the file; its tables |
| `read_models.py` | rows, checkpoints and parked events of one service, in a file of its own |
| `keys.py` | the keys of persons, in a file that only its owner can read |
| `snapshots.py`, `readings.py` | states of long streams; what sensors send |
| `requests.py` | what request ids are bound to |
| `quotas.py` | what consumers have used on a day |
| `threads.py` | how a file is asked from the event loop: by a thread of its own, but one row by its key at once |
| `database.py` | opening a file to which several processes write, and explaining why it cannot be used |
| `backup.py` | copies of the files while others write to them |
"""

from citybrain.event_store.sqlite.store import SqliteEventStore

__all__ = ["SqliteEventStore"]
