"""A command that stays up ends when it is asked to, whoever hears that."""

from __future__ import annotations

import signal
import threading

import pytest

from citybrain.local.stopping import Stop


@pytest.mark.timeout(20)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_also_when_another_thread_gets_it(number: signal.Signals) -> None:
    handler = signal.getsignal(number)
    with Stop() as stop:
        threading.Timer(0.2, lambda: signal.pthread_kill(threading.get_ident(), number)).start()
        stop.wait()
    assert signal.getsignal(number) is handler


@pytest.mark.timeout(20)
def test_a_signal_that_comes_before_the_wait_ends_it_too() -> None:
    with Stop() as stop:
        signal.raise_signal(signal.SIGTERM)
        stop.wait()


@pytest.mark.timeout(20)
def test_a_part_that_ends_ends_the_wait_and_may_say_so_again_when_nobody_waits() -> None:
    with Stop() as stop:
        threading.Thread(target=stop.tell).start()
        stop.wait()
    stop.tell()
