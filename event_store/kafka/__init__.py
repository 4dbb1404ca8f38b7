"""The log on Kafka: a topic for each service that publishes, its partitions fixed for life, and nothing personal in a key.

| module | what it is about |
|---|---|
| `cluster.py` | where Kafka is, and how to be let in |
| `topics.py` | which topic and partition a stream belongs to; topics are made, and refused where they are not as they must be |
| `records.py` | an event as a record, CloudEvents in binary mode, and back |
| `producer.py` | into the log: acknowledged by all, and never twice by the same producer |
| `partition.py` | one partition: what is new comes from memory, what is old from the broker |
| `readers.py` | the consumers behind that |
| `log.py` | the log as the distributed engine needs it |
| `readings.py` | what is kept for hours only, in topics of its own |
| `membership.py` | which partitions this process works on for a group |
"""
