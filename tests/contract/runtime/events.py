"""Events: heard in order, from where a group wants, once as far as effects go; what cannot be handled stands aside."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tests.contract.runtime.probing import Probe, RuntimeContract, until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class EventsContract(RuntimeContract):
    """See the module."""

    def test_events_of_a_stream_are_heard_in_their_order(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data") as probe:
            texts = [str(number) for number in range(50)]
            for text in texts:
                probe.write("in order", text)
            assert probe.until_notes("answered", lambda notes: len(notes) >= 50) == texts

    def test_only_what_a_filter_accepts_is_heard(self, shared: Probe) -> None:
        for text in ("plain", "marked 1", "other", "marked 2"):
            shared.write("filtered", text)
        assert shared.until_notes("marked", lambda notes: len(notes) >= 2) == ["marked 1", "marked 2"]

    def test_what_handles_an_event_belongs_to_its_trace_and_its_story(self, shared: Probe) -> None:
        shared.write(
            "traced",
            "who",
            metadata=[*shared.from_service("neighbour"), ("traceparent", TRACE), ("baggage", "incident.id=inc-7")],
        )
        assert shared.until_notes("who", bool) == [f"inc-7|{TRACE.split('-')[1]}"]

    def test_streams_are_worked_on_at_once_where_a_subscription_wants_it(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data") as probe:
            probe.write("waits", "until the other")
            probe.write("other", "the other")
        # What is heard together now was written before: nobody has to be quick.
        with self.probe(tmp_path / "data", "probe", "neighbour") as probe:
            assert until(lambda: probe.heard("beside neighbours"), lambda n: len(n) >= 2) == ["the other", "until the other"]

    # -- from where -----------------------------------------------------------------------------------------------------

    def test_a_new_group_begins_where_it_wants_and_goes_on_where_it_stopped(self, tmp_path: Path) -> None:
        # A handler notes an event before its group's place is stored: at rest it is stored, and each group has begun.
        with self.probe(tmp_path / "data", driven=True) as probe:
            probe.write("k", "early")
            probe.until_notes("answered", bool)
            moment = datetime.now(UTC).isoformat()
            probe.write("k", "middle")
            probe.rest()
            assert probe.notes("answered") == ["early", "middle"]
        since = {"PROBE_SINCE": moment}
        with self.probe(tmp_path / "data", "probe", "neighbour", driven=True, environment=since) as probe:
            probe.rest()
            probe.write("k", "late")
            probe.rest()
            assert probe.heard("from now") == ["late"]
            assert probe.heard("from a moment") == ["middle", "late"]
            assert probe.heard("from the beginning") == ["early", "middle", "late"]
            assert probe.notes("answered") == ["late"]
        with self.probe(tmp_path / "data", "probe", "neighbour", driven=True, environment=since) as probe:
            probe.write("k", "last")
            probe.rest()
            for group in ("from now", "from a moment", "from the beginning"):
                assert probe.heard(group) == ["last"], group

    # -- what fails -----------------------------------------------------------------------------------------------------

    def test_an_event_that_cannot_be_handled_stands_aside_with_its_stream_and_the_others_go_on(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data") as probe:
            for stream, text in (("bad", "before"), ("bad", "poison"), ("bad", "behind"), ("good", "beside")):
                probe.write(stream, text)
            assert probe.until_notes("answered", lambda notes: len(notes) >= 2) == ["before", "beside"]
            probe.write("bad", "much later")
            probe.write("good", "later")
            assert probe.until_notes("answered", lambda notes: len(notes) >= 3) == ["before", "beside", "later"]
            # It is tried again while the others go on, in its own time: that it stood aside says nothing of when.
            probe.until_notes("poison", lambda notes: len(notes) > 1)

    def test_an_event_is_tried_again_until_the_neighbour_it_needs_is_back(self, shared: Probe) -> None:
        shared.write("patient", "neighbour away")
        shared.write("patient", "after it")
        notes = shared.until_notes("answered", lambda notes: "after it" in notes)
        assert notes.index("neighbour away") < notes.index("after it")
        assert len(shared.notes("neighbour away")) == 3

    def test_after_a_kill_in_the_middle_every_event_has_had_its_effect_once(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data") as probe:
            for number in range(200):
                probe.write("k", str(number), f"r{number}")
            probe.until_notes("heard", bool)
            probe.running.kill()
            probe.again()
            probe.write("k", "the last", "last")
            probe.until_notes("answered", lambda notes: "the last" in notes)
            assert events_of(tmp_path / "data", "citybrain.probe.v1.Answered") == 201

    # -- read models ----------------------------------------------------------------------------------------------------

    def test_a_read_model_follows_the_log_and_is_there_after_a_restart(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data") as probe:
            for text in ("a", "b", "杭州"):
                probe.write("k", text)
            assert until(lambda: probe.do("row:k"), lambda row: row.endswith("3")) == "杭州 3"
            probe.running.kill()
            probe.again()
            assert probe.do("row:k") == "杭州 3"


def events_of(data: Path, kind: str) -> int:
    """How many events of a type stand in the log, read beside the process."""
    import sqlite3

    log = sqlite3.connect(f"file:{data / 'events.db'}?mode=ro", uri=True)
    try:
        (count,) = log.execute("SELECT count(*) FROM events WHERE type = ?", (kind,)).fetchone()
    finally:
        log.close()
    return int(count)
