"""The log on Kafka: a topic for each service that publishes, its partitions fixed for life, and nothing personal in a key.

| module | what it is about |
|---|---|
| `cluster.py` | the address of Kafka, and how to log in |
| `topics.py` | the topic and partition of a stream; missing topics are made, topics with wrong settings are refused |
| `records.py` | an event as a record, CloudEvents in binary mode, and back |
| `producer.py` | sends records: acknowledged by all replicas in sync, and never twice by the same producer |
| `partition.py` | one partition: new records come from memory, old ones from the broker |
| `readers.py` | the consumers that read for `partition.py` |
| `log.py` | the log as the distributed engine needs it |
| `readings.py` | batches of readings, kept for hours only, in topics of their own |
| `membership.py` | which partitions this process works on for a group |
"""
