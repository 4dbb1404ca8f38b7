"""Keeps processes up: one that ends without being asked to is started again, after a pause that grows, and it is said why."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from citybrain.mesh.settings import Restarts


class Kept(Protocol):
    """A process that is kept up."""

    def start(self) -> object:
        """Starts it where it was; raises an error that says why it could not."""
        ...

    def stop(self) -> object:
        """Asks it to stop, and waits."""
        ...

    def kill(self) -> None:
        """SIGKILL."""
        ...

    def wait(self) -> str:
        """Waits for its end; says how it ended."""
        ...


class Supervisor:
    """Some processes by name. `kill()` and `stop()` are no accidents: nothing is started again until `start()`."""

    def __init__(self, kept: Sequence[tuple[str, Kept]], say: Callable[[str], None], restarts: Restarts | None = None) -> None:
        self._kept = list(kept)
        self._say = say
        self._restarts = restarts or Restarts()
        self._ending = threading.Event()
        # Between the look whether we are ending and a start nobody may end us.
        self._locks = {name: threading.Lock() for name, _ in kept}
        self._watchers: list[threading.Thread] = []

    def start(self) -> None:
        """Starts all at once and waits until each is there; where one cannot start, none is left, and its error is raised."""
        self._ending.clear()
        try:
            with ThreadPoolExecutor(len(self._kept)) as pool:
                for starting in [pool.submit(one.start) for _, one in self._kept]:
                    starting.result()
        except BaseException:
            self.stop()
            raise
        self._watchers = [
            threading.Thread(target=self._keep, args=(name, one), name=f"keep-{name}", daemon=True) for name, one in self._kept
        ]
        for watcher in self._watchers:
            watcher.start()

    def stop(self) -> None:
        """Asks all to stop, together, and waits until they have."""
        self._end([one.stop for _, one in self._kept])

    def kill(self) -> None:
        """SIGKILL to all: nothing is tidied up."""
        self._end([one.kill for _, one in self._kept])

    def _end(self, ways: Sequence[Callable[[], object]]) -> None:
        self._ending.set()

        def end(name: str, way: Callable[[], object]) -> None:
            with self._locks[name]:
                way()

        with ThreadPoolExecutor(len(ways)) as pool:
            for ended in [pool.submit(end, name, way) for (name, _), way in zip(self._kept, ways, strict=True)]:
                ended.result()
        for watcher in self._watchers:
            watcher.join()
        self._watchers = []

    def _keep(self, name: str, one: Kept) -> None:
        pause = self._restarts.first_pause_s
        up = True
        while True:
            began = time.monotonic()
            how = one.wait() if up else "could not start"
            if self._ending.is_set():
                return
            if up and time.monotonic() - began >= self._restarts.steady_s:
                pause = self._restarts.first_pause_s
            if up:
                self._say(f"{name} {how}; it is started again in {pause:g} s")
            if self._ending.wait(pause):
                return
            pause = min(pause * 2, self._restarts.longest_pause_s)
            with self._locks[name]:
                if self._ending.is_set():
                    return
                try:
                    one.start()
                    up = True
                except Exception as error:
                    up = False
                    self._say(f"{name} cannot be started: {error}; tried again in {pause:g} s")
                else:
                    self._say(f"{name} is up again")
