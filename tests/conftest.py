"""What every test stands on, in whichever process it runs."""

from __future__ import annotations

import signal

# A job of a shell in the background is given an interrupt that is ignored, and gives it on to all it starts: a test that sends
# Ctrl-C would wait for ever. What is handled here has its default again in a child.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
