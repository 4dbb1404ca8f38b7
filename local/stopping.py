"""How a command that stays up learns that it should end: by Ctrl-C, by SIGTERM, or by a part of its own."""

from __future__ import annotations

import contextlib
import signal
import socket
from types import TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_TOLD = 0


class Stop:
    """To be used with `with`, in the main thread.

    The kernel may give a signal to any thread. Then nothing wakes the main thread: not from `signal.pause()`, nor from a lock.
    Python writes the number of each signal into a socket, whoever gets it, and that wakes whoever reads there.
    """

    def __init__(self) -> None:
        self._reading, self._writing = socket.socketpair()
        self._writing.setblocking(False)

    def __enter__(self) -> Stop:
        self._wakes_before = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        self._before = [(number, signal.signal(number, lambda *_: None)) for number in _SIGNALS]
        return self

    def tell(self) -> None:
        """Ends the wait. From any thread, also more than once."""
        # Nobody may wait any more.
        with contextlib.suppress(OSError):
            self._writing.send(bytes([_TOLD]))

    def wait(self) -> None:
        """Returns as soon as a signal or `tell()` has come since the beginning of the `with`."""
        while self._reading.recv(1)[0] not in (_TOLD, *_SIGNALS):
            pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        signal.set_wakeup_fd(self._wakes_before)
        for number, handler in self._before:
            signal.signal(number, handler)
        self._reading.close()
        self._writing.close()
