"""What stands on stderr of a command is its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# A call is under way while the process forks: of that gRPC writes a note.
FORKS = """
import importlib, os, sys, threading
importlib.import_module(sys.argv[1])
import grpc
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(2)
server = grpc.server(pool)
port = server.add_insecure_port("127.0.0.1:0")
asked, answer = threading.Event(), threading.Event()

def wait(request, context):
    asked.set()
    answer.wait(30)
    return request

rpcs = {"Wait": grpc.unary_unary_rpc_method_handler(wait)}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", rpcs),))
server.start()
channel = grpc.insecure_channel(f"127.0.0.1:{port}")
call = threading.Thread(target=lambda: channel.unary_unary("/test.Test/Wait")(b"", timeout=30))
call.start()
asked.wait(30)
for _ in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
answer.set()
call.join(30)
server.stop(0).wait(10)
channel.close()
"""


def stderr(module: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    command = [sys.executable, "-c", FORKS, module]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stderr


def test_grpc_would_write_there() -> None:
    assert "skipping fork() handlers" in stderr("json")


@pytest.mark.parametrize("program", ["citybrain.cli.main", "citybrain.simulation.__main__"])
def test_notes_of_grpc_stay_out_of_it(program: str) -> None:
    assert stderr(program) == ""
