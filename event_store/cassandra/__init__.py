"""What the distributed engine keeps on Cassandra.

| module | what it is about |
|---|---|
| `session.py` | the address of the cluster, and how to ask it without a thread that waits |
| `migrations.py` | keyspaces, brought up to date step by step |
| `tables.py` | the conditional store of streams, writers and marks |
| `correlations.py` | the events of one correlation id, wherever they stand |
| `read_models.py` | a service's views, and the checkpoints and parked events of its groups |
| `slots.py` | numbered slots for parked events |
| `keys.py` | the keys of persons, in a keyspace of their own |
| `snapshots.py` | states of long streams |
| `requests.py` | what request ids are bound to |
| `quotas.py` | what consumers have used on a day |
"""
