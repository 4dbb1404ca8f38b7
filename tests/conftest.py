"""What every test stands on, in whichever process it runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers.files import keep_files_in_memory

# A job of a shell in the background is given an interrupt that is ignored, and gives it on to all it starts: a test that sends
# Ctrl-C would wait for ever. What is handled here has its default again in a child.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# gRPC writes notes of its own on stderr, when a server goes or a process forks: tests that read what a command says there must
# not meet them. It asks when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

keep_files_in_memory()

# A busy machine is slow, and a slow example is no fault: no limit on one example, and none on how fast they are made. The blob
# that is printed beside a failure finds it again.
settings.register_profile("city", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("city")


@pytest.fixture(autouse=True)
def _tells(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that is marked with `tells` has these spans, attributes and fields told by the code that it runs."""
    marked = {name for mark in request.node.iter_markers("tells") for name in mark.args}
    if not marked:
        yield
        return
    # Loaded only where it is used: most tests need none of it.
    from tests.helpers.telemetry import listening

    with listening() as heard:
        yield
    assert marked <= heard.told(), f"it does not tell {', '.join(sorted(marked - heard.told()))}"
