"""The distributed engine: a store with conditional writes holds the streams, a broker is the log, and no leader is elected.

| module | what it is about |
|---|---|
| `interfaces.py` | what is needed of the store of streams, of the broker and of the clock |
| `streams.py` | a stream in its buckets: where it ends, what stands in it |
| `publishing.py` | from a stream to the log: in order, each event only after the one before it |
| `open_stream.py` | what a writer knows of one stream |
| `waiting.py` | appends that wait for one stream: which go together, and the outcome of each |
| `writer.py` | appending: one outcome, whatever is lost on the way; what others need to finish a writer's work |
| `adoption.py` | deciding and publishing what a writer that is gone left undone |
| `passwords.py` | reading the password for a cluster |
| `reading.py` | a partition as a group reads it: duplicates are dropped, missing events are published again |
| `verifying.py` | comparing the log with the streams, and publishing what is missing |
| `store.py` | all of this as an EventStore |

docs/decisions/0021-the-outbox-is-the-stream.md says why it is right.
"""
