"""A supervisor: what ends by accident is started again, what is ended is not; pauses grow, and everything is said."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from citybrain.local.supervisor import Supervisor
from citybrain.mesh.settings.values import Restarts

LIMIT_S = 60.0


class Child:
    """Stands for a process: ends when it is told to, or cannot start."""

    def __init__(self) -> None:
        self.starts = 0
        self.cannot = 0
        # How often it answers nothing; for ever where it hangs.
        self.unanswered = 0
        self.hangs = False
        self.asked = 0
        self.running = False
        self._ended = threading.Event()
        self._how = ""

    def start(self) -> None:
        self.starts += 1
        if self.cannot:
            self.cannot -= 1
            raise OSError("the port is taken")
        self.running, self.hangs = True, False
        self._ended.clear()

    def crash(self, how: str) -> None:
        self.running, self._how = False, how
        self._ended.set()

    def stop(self) -> None:
        self.crash("was stopped")

    kill = stop

    def answers(self, timeout_s: float) -> bool:
        self.asked += 1
        if self.unanswered:
            self.unanswered -= 1
            return False
        return not self.hangs

    def wait(self) -> str:
        self._ended.wait()
        return self._how


class Room:
    """A supervisor with what it said."""

    def __init__(self, *children: Child, restarts: Restarts | None = None) -> None:
        self.said: list[str] = []
        kept = [(f"child-{number}", child) for number, child in enumerate(children)]
        quick = Restarts(first_pause_s=0.001, longest_pause_s=0.004, steady_s=1000)
        self.supervisor = Supervisor(kept, self.said.append, restarts or quick)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.001)


def test_what_ends_by_accident_is_started_again_and_it_is_said_why() -> None:
    child, other = Child(), Child()
    room = Room(child, other)
    room.supervisor.start()
    child.crash("ended with code 3: disk full")
    until(lambda: child.running and child.starts == 2)
    until(lambda: len(room.said) == 2)
    assert room.said == ["child-0 ended with code 3: disk full; it is started again in 0.001 s", "child-0 is up again"]
    assert other.starts == 1
    room.supervisor.stop()


def test_pauses_grow_to_the_longest_while_it_cannot_stay_up() -> None:
    child = Child()
    room = Room(child)
    room.supervisor.start()
    child.cannot = 3
    child.crash("was ended by SIGKILL")
    until(lambda: child.running)
    child.crash("was ended by SIGSEGV")
    until(lambda: child.running and child.starts == 6)
    until(lambda: len(room.said) == 7)
    told = [said.rpartition(" in ")[2] for said in room.said if " in " in said]
    assert told == ["0.001 s", "0.002 s", "0.004 s", "0.004 s", "0.004 s"]
    assert "the port is taken" in room.said[1]
    room.supervisor.stop()


def test_who_was_up_for_long_begins_with_the_first_pause_again() -> None:
    child = Child()
    room = Room(child, restarts=Restarts(first_pause_s=0.001, longest_pause_s=1, steady_s=0.000001))
    room.supervisor.start()
    for number in range(2, 5):
        child.crash("ended")
        until(lambda number=number: child.running and child.starts == number)  # type: ignore[misc]
    until(lambda: len(room.said) == 6)
    assert all(" in 0.001 s" in said for said in room.said if "started again" in said)
    room.supervisor.stop()


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_what_is_ended_stays_down_until_it_is_started(way: str) -> None:
    child = Child()
    room = Room(child)
    for number in (1, 2, 3):
        room.supervisor.start()
        assert child.running
        getattr(room.supervisor, way)()
        assert (child.running, child.starts, room.said) == (False, number, [])


def test_where_one_cannot_start_none_is_left() -> None:
    children = [Child(), Child(), Child()]
    children[1].cannot = 1
    room = Room(*children)
    with pytest.raises(OSError, match="the port is taken"):
        room.supervisor.start()
    assert [child.running for child in children] == [False] * 3


def test_a_stop_in_the_middle_of_a_pause_does_not_wait_for_its_end() -> None:
    child = Child()
    room = Room(child, restarts=Restarts(first_pause_s=1000, longest_pause_s=1000))
    room.supervisor.start()
    child.crash("ended")
    until(lambda: bool(room.said))
    room.supervisor.stop()
    assert child.starts == 1


HANGING = Restarts(first_pause_s=0.001, longest_pause_s=0.004, steady_s=1000, hang_s=0.015)


def test_what_runs_and_answers_nothing_is_ended_and_started_again_with_pauses_that_grow() -> None:
    child, other = Child(), Child()
    room = Room(child, other, restarts=HANGING)
    room.supervisor.start()
    for number in (2, 3):
        child.hangs = True
        until(lambda number=number: child.running and child.starts == number)  # type: ignore[misc]
    until(lambda: len(room.said) == 4)
    hung = "child-0 had answered nothing for 0.015 s and was ended; it is started again in"
    assert room.said == [f"{hung} 0.001 s", "child-0 is up again", f"{hung} 0.002 s", "child-0 is up again"]
    assert other.starts == 1
    room.supervisor.stop()


def test_what_answers_now_and_then_is_left_alone_and_so_is_all_where_nobody_is_to_ask() -> None:
    child = Child()
    room = Room(child, restarts=HANGING)
    room.supervisor.start()
    for _ in range(5):
        child.unanswered, before = 2, child.asked
        until(lambda before=before: child.asked > before + 3)  # type: ignore[misc]
    room.supervisor.stop()
    assert (child.starts, room.said) == (1, [])
    never = Room(child, restarts=Restarts(hang_s=0))
    never.supervisor.start()
    assert len(never.supervisor._watchers) == 1
    never.supervisor.stop()


def test_how_each_fares_is_told_with_how_often_it_ended_in_a_row_and_why() -> None:
    child = Child()
    told: list[tuple[bool, int, str]] = []
    restarts = Restarts(first_pause_s=0.001, longest_pause_s=0.001, steady_s=1000)

    def changed() -> None:
        (life,) = supervisor.lives.values()
        told.append((life.up, life.ends, life.last))

    supervisor = Supervisor([("child", child)], lambda said: None, restarts, changed)
    assert [life.last for life in supervisor.lives.values()] == ["is being started"]
    supervisor.start()
    child.cannot = 1
    child.crash("ended with code 3")
    until(lambda: len(told) == 4)
    supervisor.stop()
    cannot = "cannot be started: the port is taken"
    assert told[:4] == [(True, 0, ""), (False, 1, "ended with code 3"), (False, 2, cannot), (True, 2, cannot)]
    assert told[4:] == [(False, 0, "was stopped on purpose")]
