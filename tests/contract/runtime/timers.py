"""City time: timers and windows of readings, driven here as a simulation drives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from citybrain.probe.v1 import probe_service_pb2 as pb

from tests.contract.runtime.probing import LIMIT_S, Probe, RuntimeContract

DAY = 86_400
THREE_IN_HANGZHOU = 19 * 3600
"""03:00 in Hangzhou, in seconds of a day of UTC."""
BEGIN = 20_000 * DAY
Sent = tuple[str, int, float]


class TimersContract(RuntimeContract):
    """See the module."""

    def test_a_timer_fires_at_its_own_moments_however_far_time_is_moved(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data", driven=True) as probe:
            probe.advance(BEGIN + 1)
            for moved in (12, 25, 41):
                probe.advance(BEGIN + moved)
            assert [int(note) - BEGIN for note in probe.notes("tick") if int(note) > BEGIN + 1] == [10, 20, 30, 40]

    def test_no_timer_fires_before_a_driven_time_is_told(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data", driven=True) as probe:
            probe.write("k", "early")
            assert probe.notes("tick") == []

    def test_a_leap_of_time_does_not_fire_what_it_leapt_over(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data", driven=True) as probe:
            probe.advance(BEGIN)
            probe.advance(BEGIN + 3 * DAY)
            assert len(probe.notes("tick")) <= 3

    def test_a_daily_timer_fires_once_a_day_and_makes_up_for_the_newest_it_missed(self, tmp_path: Path) -> None:
        three = BEGIN + THREE_IN_HANGZHOU
        with self.probe(tmp_path / "data", driven=True) as probe:
            probe.advance(three - 60)
            probe.advance(three + 60)
            probe.write("k", "so that the log knows the time")
            assert probe.notes("nightly") == [str(three)]
            probe.running.kill()
            probe.again()
            probe.advance(three + 3600)
            assert probe.notes("nightly") == []
            probe.running.kill()
            probe.again()
            probe.advance(three + 3 * DAY + 60)
            assert len(probe.notes("nightly")) == 1

    def test_of_the_days_of_a_leap_a_daily_timer_does_the_first_and_the_last(self, tmp_path: Path) -> None:
        three = BEGIN + THREE_IN_HANGZHOU
        with self.probe(tmp_path / "data", driven=True) as probe:
            probe.advance(three - 60)
            # A run a day would be 36,500 of them.
            probe.advance(three + 36_500 * DAY + 60)
            assert probe.notes("nightly") == [str(three), str(three + 36_500 * DAY)]
            probe.advance(three + 36_501 * DAY + 60)
            assert probe.notes("nightly")[2:] == [str(three + 36_501 * DAY)]

    # -- windows --------------------------------------------------------------------------------------------------------

    def test_readings_are_folded_by_channel_and_told_when_their_window_is_over(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data", driven=True) as probe:
            probe.advance(BEGIN)
            report(probe, [("a", 1, 1), ("b", 59, 2)], [("a", 30, 4), ("a", 60, 100)])
            probe.advance(BEGIN + 64)
            assert probe.notes("minute") == []
            probe.advance(BEGIN + 66)
            assert probe.notes("minute") == [f"{BEGIN} [('a', 5.0), ('b', 2.0)] late 0 ahead 0"]
            probe.advance(BEGIN + 130)
            assert probe.notes("minute")[1:] == [f"{BEGIN + 60} [('a', 100.0)] late 0 ahead 0"]

    def test_a_leap_of_a_century_tells_the_windows_before_it_and_looks_at_none_that_it_leapt_over(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data", driven=True) as probe:
            probe.advance(BEGIN)
            report(probe, [("a", 1, 1), ("a", 61, 2)])
            # Each look takes the disk: at one a minute this would take days.
            probe.advance(BEGIN + 36_500 * DAY)
            assert [note.split()[0] for note in probe.notes("minute")] == [str(BEGIN), str(BEGIN + 60)]

    def test_readings_that_come_too_late_are_left_out_and_counted(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data", driven=True) as probe:
            probe.advance(BEGIN)
            report(probe, [("a", 1, 1)])
            probe.advance(BEGIN + 66)
            report(probe, [("a", 2, 1), ("a", 61, 3)])
            probe.advance(BEGIN + 126)
            assert probe.notes("minute")[1:] == [f"{BEGIN + 60} [('a', 3.0)] late 1 ahead 0"]

    def test_readings_of_a_clock_that_is_far_ahead_are_left_out_and_counted(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data", driven=True) as probe:
            probe.advance(BEGIN)
            report(probe, [("a", 1, 1), ("a", 10 * DAY, 7)])
            probe.advance(BEGIN + 66)
            assert probe.notes("minute") == [f"{BEGIN} [('a', 1.0)] late 0 ahead 1"]

    def test_a_batch_that_cannot_be_folded_does_not_hold_up_the_next(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data", driven=True) as probe:
            probe.advance(BEGIN)
            report(probe, [("a", 1, 1), ("a", 2, -1), ("a", 3, 1)], [("a", 4, 2)])
            probe.advance(BEGIN + 66)
            assert probe.notes("minute") == [f"{BEGIN} [('a', 3.0)] late 0 ahead 0"]

    def test_windows_that_were_open_at_a_kill_are_told_whole_and_those_told_are_not_told_again(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data", driven=True) as probe:
            probe.advance(BEGIN)
            report(probe, [("a", 1, 1), ("a", 61, 2)])
            probe.advance(BEGIN + 66)
            report(probe, [("a", 62, 3)])
            probe.rest()
            assert len(probe.notes("minute")) == 1
            probe.running.kill()
            probe.again()
            report(probe, [("a", 119, 5)])
            probe.advance(BEGIN + 126)
            assert probe.notes("minute") == [f"{BEGIN + 60} [('a', 10.0)] late 0 ahead 0"]

    def test_who_begins_between_the_end_of_a_window_and_its_telling_waits_for_the_late(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data", driven=True) as probe:
            probe.advance(BEGIN)
            report(probe, [("a", 1, 1)])
            probe.rest()
            probe.running.kill()
            probe.again()
            probe.advance(BEGIN + 62)
            report(probe, [("a", 58, 3)])
            probe.advance(BEGIN + 66)
            assert probe.notes("minute") == [f"{BEGIN} [('a', 4.0)] late 0 ahead 0"]

    def test_a_window_whose_method_fails_is_told_again_before_the_next(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data", driven=True) as probe:
            probe.advance(BEGIN)
            report(probe, [("trouble", 1, 1), ("a", 61, 2)])
            probe.advance(BEGIN + 126)
            assert len(probe.notes("trouble")) == 2
            assert [note.split()[0] for note in probe.notes("minute")] == [str(BEGIN), str(BEGIN + 60)]

    def test_a_batch_that_is_not_what_its_contract_says_is_refused_whole(self, tmp_path: Path) -> None:
        with self.probe(tmp_path / "data", driven=True) as probe:
            probe.advance(BEGIN)
            refused = probe.stub.ReportReadings.future(batch([("a", 1, 1), ("", 2, 1)]), timeout=LIMIT_S)
            assert "readings[1].channel" in refused.exception().details()
            probe.advance(BEGIN + 66)
            assert probe.notes("minute") == []


def batch(sent: Sequence[Sent]) -> pb.ReportReadingsRequest:
    """Readings of some seconds after the beginning."""
    return pb.ReportReadingsRequest(
        readings=[pb.Reading(channel=channel, at=(BEGIN + second) * 1_000_000, value=value) for channel, second, value in sent]
    )


def report(probe: Probe, *batches: Sequence[Sent]) -> None:
    """Sends batches."""
    for sent in batches:
        probe.stub.ReportReadings(batch(sent), timeout=LIMIT_S)
