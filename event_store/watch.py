"""Loops and threads that must run as long as the process. If one fails, it is begun again, and reported until it is well.

Each has a Vital. A loop does each round under `Vital.round`; VitalThread restarts a thread. Readiness asks the Watch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from citybrain.event_store.store import StoreError
from citybrain.event_store.subscription import describe

_AGAIN_S = 0.5
# A round that takes longer counts as hanging.
_LONG_S = 30.0


class Vital:
    """A loop or thread that must go on. `stops`: without it the process should take no calls."""

    def __init__(self, name: str, stops: bool) -> None:
        self.name = name
        self.stops = stops
        self._reason = ""
        self._began: float | None = None

    @property
    def reason(self) -> str:
        """Why it is not well; empty: it is well."""
        began = self._began
        if not self._reason and began is not None and (still_s := time.monotonic() - began) > _LONG_S:
            return f"has not come to an end for {still_s:.0f} s"
        return self._reason

    def wrong(self, error: BaseException) -> None:
        """It failed. It is tried again, and is not well until that succeeds."""
        # The text of an unexpected error is not told: it may hold content of an event.
        self._reason = f"failed, and is tried again: {error if isinstance(error, StoreError) else describe(error)}"

    def says(self, reason: str) -> None:
        """It goes on, but there is something to report."""
        self._reason = reason

    def well(self) -> None:
        """It has done its work: nothing to report."""
        self._reason = ""

    @contextmanager
    def round(self) -> Iterator[None]:
        """Goes around one round of a loop: an error is kept here as the reason, and the loop goes on."""
        self._began = time.monotonic()
        try:
            yield
        except Exception as error:
            self.wrong(error)
        else:
            self.well()
        finally:
            self._began = None


class Watch:
    """All loops and threads that must go on in a process's store. May be asked from any thread."""

    def __init__(self) -> None:
        self._vitals: dict[Vital, None] = {}

    def begin(self, name: str, stops: bool = True) -> Vital:
        """Adds one that must go on."""
        vital = Vital(name, stops)
        self._vitals[vital] = None
        return vital

    def end(self, vital: Vital) -> None:
        """Removes one that need not go on any more."""
        self._vitals.pop(vital, None)

    def troubles(self, stops: bool) -> list[str]:
        """What is not well, as sentences, among those with this `stops`."""
        found = [(vital.name, vital.reason) for vital in list(self._vitals) if vital.stops == stops]
        return [f"{name} {reason}" for name, reason in found if reason]


class VitalThread:
    """A thread that does `work` until it is over. If `work` fails, it is begun again after a pause."""

    def __init__(self, watch: Watch, name: str, work: Callable[[VitalThread], None]) -> None:
        """`work` must return when `over` is set, and call `well` when it has done something."""
        self.over = threading.Event()
        self._watch = watch
        self._vital = watch.begin(name)
        self.well = self._vital.well
        self._work = work
        self._thread = threading.Thread(target=self._run, name=name.replace(" ", "-"), daemon=True)
        self._thread.start()

    def end(self, wait: bool = True) -> None:
        """Tells the thread to end; `wait`: returns after it has ended."""
        self.over.set()
        self._watch.end(self._vital)
        if wait:
            self._thread.join()

    def _run(self) -> None:
        while not self.over.is_set():
            try:
                self._work(self)
            except Exception as error:
                self._vital.wrong(error)
                self.over.wait(_AGAIN_S)
