"""What a runtime of the kit must do, said to it from outside: over gRPC, by signals, through the log.

A runtime joins by one class with `launch` (see `test_nameko.py`); the suites say the rest. The services they talk to are in
`probe/` and are written as a sector team writes.
"""
