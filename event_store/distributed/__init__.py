"""The distributed engine: a conditional store holds the streams, a broker is the log, and nothing between them is elected.

| module | what it is about |
|---|---|
| `interfaces.py` | what is needed of the store of streams, of the broker and of the clock |
| `streams.py` | a stream in its buckets: where it ends, what stands in it |
| `publishing.py` | from a stream to the log: in order, each only when the one before is there |
| `writer.py` | appending: one decision whatever is lost on the way, and what a writer leaves for others to find |
| `waiting.py` | appends that wait for one stream: which go together, what each is told |
| `adoption.py` | what a writer that is gone left undecided or unpublished is decided and published by others |
| `passwords.py` | how a cluster lets a process in |
| `reading.py` | a partition as a group reads it: what came twice is dropped, what is missing is published again |
| `verifying.py` | whether the log holds what the streams hold, and what is missing is published |

docs/decisions/0021-the-outbox-is-the-stream.md says why it is right.
"""
