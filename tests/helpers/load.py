"""Callers in threads of their own, who call again and again until the test has seen enough.

Between two calls they rest for a moment: a load is to be there all the time, and not to fill a machine that others use too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Self

REST_S = 0.01


class Callers:
    """A thread for each function, which calls as long as `goes_on()` says so. Use as a context manager."""

    def __init__(self, work: Sequence[Callable[[], None]]) -> None:
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=one) for one in work]

    def goes_on(self) -> bool:
        """After a moment, whether there is to be one more call."""
        return not self._ending.wait(REST_S)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()
