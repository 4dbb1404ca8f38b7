"""What the distributed engine keeps on Cassandra.

| module | what it is about |
|---|---|
| `session.py` | where the cluster is, and how it is asked without a thread that waits |
| `migrations.py` | keyspaces, brought up to date step by step |
| `tables.py` | the conditional store of streams, writers and marks |
| `correlations.py` | the events of one correlation id, wherever they stand |
| `read_models.py` | a service's views, the checkpoints of its groups, and what they have parked |
| `keys.py` | the keys of persons, in a keyspace of their own |
| `snapshots.py` | states of long streams |
"""
