"""Waiting until something is so, as long as a busy machine may need."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest


def until(condition: Callable[[], Any], what: object, limit_s: float = 60) -> Any:
    """What the condition returns once it is true; fails when it never is. `what`: shown then, as it is by then."""
    end = time.monotonic() + limit_s
    pause = threading.Event()
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        pause.wait(0.02)
    pytest.fail(f"never came: {what}")
