"""Becomes another program, which ends when its parent process ends, however that ends; or which outlives its parent.

Run as `python -I -S tether.py PARENT_PID SIGNAL PID_FD PROGRAM ARGUMENTS…`. It imports nothing of ours, so it starts at once.
PARENT_PID 0: it outlives its parent. PID_FD: the file that gets its process id before it becomes the program; -1: none.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Asks Linux for a signal at the parent's death, then becomes the program."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent, number, file, program = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    if parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
        # The parent may have died before the request.
        if os.getppid() != parent:
            sys.exit(1)
    if file >= 0:
        os.write(file, str(os.getpid()).encode())
    os.execv(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
