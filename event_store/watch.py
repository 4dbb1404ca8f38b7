"""What must go on as long as a process lives: when it ends by an error it is begun again, and says so until it is well again.

Each has a Vital. Loops do a round at a time under `Vital.round`; threads are begun anew by VitalThread. Whoever tells of the
process's readiness asks the Watch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from citybrain.event_store.store import StoreError
from citybrain.event_store.subscription import describe

_AGAIN_S = 0.5
# A round that takes so long hangs, as far as anybody can tell.
_LONG_S = 30.0


class Vital:
    """One thing that must go on; `stops`: without it the process should take no calls."""

    def __init__(self, name: str, stops: bool) -> None:
        self.name = name
        self.stops = stops
        self._reason = ""
        self._began: float | None = None

    @property
    def reason(self) -> str:
        """Why it is not well; empty: it is."""
        began = self._began
        if not self._reason and began is not None and (still_s := time.monotonic() - began) > _LONG_S:
            return f"has not come to an end for {still_s:.0f} s"
        return self._reason

    def wrong(self, error: BaseException) -> None:
        """It failed; it is begun again, and not well until then."""
        # Of what we did not foresee the text is not told: it may hold what an event holds.
        self._reason = f"failed, and is tried again: {error if isinstance(error, StoreError) else describe(error)}"

    def says(self, reason: str) -> None:
        """It goes on, and something of it is to be told."""
        self._reason = reason

    def well(self) -> None:
        """It has done what it is there for."""
        self._reason = ""

    @contextmanager
    def round(self) -> Iterator[None]:
        """Around one round of a loop: what it fails with is kept here, and the loop goes on."""
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
    """All that must go on in a process's store. May be asked from any thread."""

    def __init__(self) -> None:
        self._vitals: dict[Vital, None] = {}

    def begin(self, name: str, stops: bool = True) -> Vital:
        """Something more that must go on."""
        vital = Vital(name, stops)
        self._vitals[vital] = None
        return vital

    def end(self, vital: Vital) -> None:
        """It need not go on any more."""
        self._vitals.pop(vital, None)

    def troubles(self, stops: bool) -> list[str]:
        """What is not well, of that without which no calls should be taken, or of the rest."""
        found = [(vital.name, vital.reason) for vital in list(self._vitals) if vital.stops == stops]
        return [f"{name} {reason}" for name, reason in found if reason]


class VitalThread:
    """A thread that does `work` until it is over. Work that ends by an error is begun again after a pause."""

    def __init__(self, watch: Watch, name: str, work: Callable[[VitalThread], None]) -> None:
        """`work` returns when `over` is set, and says `well` when it has done something."""
        self.over = threading.Event()
        self._watch = watch
        self._vital = watch.begin(name)
        self.well = self._vital.well
        self._work = work
        self._thread = threading.Thread(target=self._run, name=name.replace(" ", "-"), daemon=True)
        self._thread.start()

    def end(self, wait: bool = True) -> None:
        """Lets it come to its end; `wait`: returns when it has."""
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
