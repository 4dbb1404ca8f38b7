"""Becomes another program that ends when the process that started it ends, however that ends.

Run as `python -I -S tether.py PARENT_PID PROGRAM ARGUMENTS…`; imports nothing of ours, so that it starts at once.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Asks Linux for a signal at the parent's death, then becomes the program."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        # It may have died before we asked.
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
