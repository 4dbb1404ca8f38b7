"""What must live is begun again when it ends by an error, and is told until it is well again."""

from __future__ import annotations

import threading

import pytest

from citybrain.event_store import watch as watching
from citybrain.event_store.store import StoreError
from citybrain.event_store.watch import VitalThread, Watch


def test_a_thread_that_ends_by_an_error_is_begun_again_and_told_until_it_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_AGAIN_S", 0.01)
    watch, failed, mended, done = Watch(), threading.Event(), threading.Event(), threading.Event()
    begun = []

    def work(thread: VitalThread) -> None:
        begun.append(1)
        if not mended.is_set():
            if len(begun) == 3:
                failed.set()
            raise LookupError("王芳 is in here")
        thread.well()
        done.set()
        thread.over.wait()

    thread = VitalThread(watch, "reading", work)
    assert failed.wait(30)
    (told,) = watch.troubles(stops=True)
    assert told.startswith("reading failed, and is tried again: LookupError in work (test_watch.py:")
    assert "王芳" not in told
    mended.set()
    assert done.wait(30)
    assert watch.troubles(stops=True) == []
    thread.end()
    assert not thread._thread.is_alive()


def test_a_round_that_fails_is_told_and_the_next_one_that_does_not_is_well() -> None:
    watch = Watch()
    vital = watch.begin("adopting w1", stops=False)
    with vital.round():
        raise StoreError("Kafka does not do as asked")
    assert watch.troubles(stops=False) == ["adopting w1 failed, and is tried again: Kafka does not do as asked"]
    assert watch.troubles(stops=True) == []
    with vital.round():
        pass
    assert watch.troubles(stops=False) == []


def test_a_round_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    vital = watch.begin("the beat of this writer")
    with vital.round():
        assert watch.troubles(stops=True) == []
        monkeypatch.setattr(watching, "_LONG_S", -1.0)
        (told,) = watch.troubles(stops=True)
        assert "the beat of this writer has not come to an end for" in told
    assert watch.troubles(stops=True) == []


def test_what_need_not_go_on_any_more_is_not_told() -> None:
    watch = Watch()
    vital = watch.begin("publishing s")
    vital.wrong(StoreError("no"))
    watch.end(vital)
    assert watch.troubles(stops=True) == []
