"""Keeps processes up: one that ends or hangs is started again, after a pause that grows, and the reason is told.

A process hangs if it runs but answers nothing. It is ended first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from citybrain.mesh.settings.values import Restarts

# After so many questions in a row without answer a process hangs. Once is not enough: the machine may have slept.
_ASKS = 3
_ENDED = "was stopped on purpose"


class Kept(Protocol):
    """A process that is kept up."""

    def start(self) -> object:
        """Starts it at the same address; raises an error that says why it could not."""
        ...

    def stop(self) -> object:
        """Asks it to stop, and waits."""
        ...

    def kill(self) -> None:
        """Ends it by SIGKILL."""
        ...

    def wait(self) -> str:
        """Waits for its end; says how it ended."""
        ...

    def answers(self, timeout_s: float) -> bool:
        """Whether it answers anything. True also if it does not run, or cannot be asked yet."""
        ...


@dataclass(frozen=True, slots=True)
class Life:
    """The state of a process that should run: since when it is up or down, and how often it ended soon after its start."""

    name: str
    up: bool
    # By the wall clock (seconds since 1970), since other processes read it.
    since_s: float
    ends: int = 0
    # How it ended the last time.
    last: str = ""


class Supervisor:
    """Some processes by name. After `kill()` or `stop()` nothing is started again until `start()`."""

    def __init__(
        self,
        kept: Sequence[tuple[str, Kept]],
        say: Callable[[str], None],
        restarts: Restarts | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`say`: gets a sentence when something happens to a process. `changed`: called whenever `lives` have changed."""
        self._kept = list(kept)
        self._say = say
        self._restarts = restarts or Restarts()
        self._changed = changed
        self._ending = threading.Event()
        # Held from the look at `_ending` until the start is done: `_end` must not come in between.
        self._locks = {name: threading.Lock() for name, _ in kept}
        self._watchers: list[threading.Thread] = []
        # Names of processes that were ended because they hung.
        self._hung: set[str] = set()
        self.lives = {name: Life(name, False, time.time(), last="is being started") for name, _ in kept}
        """The state of each process now."""

    def start(self) -> None:
        """Starts all at the same time and waits for them. If one cannot start, all are stopped, and its error is raised."""
        self._ending.clear()
        try:
            with ThreadPoolExecutor(len(self._kept)) as pool:
                for starting in [pool.submit(one.start) for _, one in self._kept]:
                    starting.result()
        except BaseException:
            self.stop()
            raise
        for name, _ in self._kept:
            self._lives(Life(name, True, time.time()))
        works = [("keep", self._keep), *([("ask", self._ask)] if self._restarts.hang_s else [])]
        self._watchers = [
            threading.Thread(target=work, args=(name, one), name=f"{what}-{name}", daemon=True)
            for what, work in works
            for name, one in self._kept
        ]
        for watcher in self._watchers:
            watcher.start()

    def stop(self) -> None:
        """Asks all to stop at the same time, and waits until they have."""
        self._end([one.stop for _, one in self._kept])

    def kill(self) -> None:
        """Ends all by SIGKILL, as a crash would."""
        self._end([one.kill for _, one in self._kept])

    def _end(self, ways: Sequence[Callable[[], object]]) -> None:
        self._ending.set()

        def end(name: str, way: Callable[[], object]) -> None:
            with self._locks[name]:
                way()
                self._lives(Life(name, False, time.time(), last=_ENDED))

        with ThreadPoolExecutor(len(ways)) as pool:
            for ended in [pool.submit(end, name, way) for (name, _), way in zip(self._kept, ways, strict=True)]:
                ended.result()
        for watcher in self._watchers:
            watcher.join()
        self._watchers = []

    def _lives(self, life: Life) -> None:
        self.lives[life.name] = life
        self._changed()

    def _keep(self, name: str, one: Kept) -> None:
        pause = self._restarts.first_pause_s
        ends = 0
        how, up = "", True
        while True:
            began = time.monotonic()
            how = one.wait() if up else how
            if self._ending.is_set():
                return
            if name in self._hung:
                self._hung.discard(name)
                how = f"had answered nothing for {self._restarts.hang_s:g} s and was ended"
            if up and time.monotonic() - began >= self._restarts.steady_s:
                pause, ends = self._restarts.first_pause_s, 0
            if up:
                ends += 1
                self._lives(Life(name, False, time.time(), ends, how))
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
                    ends += 1
                    how = f"cannot be started: {error}"
                    self._lives(Life(name, False, time.time(), ends, how))
                    self._say(f"{name} cannot be started: {error}; tried again in {pause:g} s")
                else:
                    self._lives(Life(name, True, time.time(), ends, how))
                    self._say(f"{name} is up again")

    def _ask(self, name: str, one: Kept) -> None:
        """Asks a process again and again, and ends it if it does not answer any more. `_keep` then starts it again."""
        each_s = self._restarts.hang_s / _ASKS
        unanswered, spent_s = 0, 0.0
        while not self._ending.wait(max(0.0, each_s - spent_s)):
            asked = time.monotonic()
            up = self.lives[name].up
            unanswered = 0 if not up or one.answers(each_s) else unanswered + 1
            spent_s = time.monotonic() - asked
            if unanswered < _ASKS:
                continue
            with self._locks[name]:
                # If it is being started again just now, it is not the one that hung.
                if not self._ending.is_set() and self.lives[name].up:
                    self._hung.add(name)
                    one.kill()
            unanswered = 0
