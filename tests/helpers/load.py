"""Callers in threads of their own, who call again and again until the test has seen enough."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Self


class Callers:
    """A thread for each function; a function returns when `ending` is set. Use as a context manager."""

    def __init__(self, work: Sequence[Callable[[], None]]) -> None:
        self.ending = threading.Event()
        self._threads = [threading.Thread(target=one) for one in work]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        for thread in self._threads:
            thread.join()
