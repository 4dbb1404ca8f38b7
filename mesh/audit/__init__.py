"""What every caller did, in chains that show when something was changed: docs/audit.md.

| module | what it is about |
|---|---|
| `entries.py` | what is recorded of a call, and the port of a trail |
| `trail.py` | the trail as a process writes it |
| `chain.py` | what is written and hashed |
| `anchors.py` | where chains end, written down in a chain of its own |
| `verifying.py` | which records were removed, changed, reordered or inserted |
| `reading.py` | records by subject, method, person and time |
"""
