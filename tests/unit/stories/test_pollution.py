"""What is checked of a day with a hidden source follows from what was played."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from citybrain.credit.v1 import credit_service_pb2 as credit
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.identifiers import uscc
from citybrain.services.environment import sealed_chain
from citybrain.simulation.air import Place, Release
from citybrain.simulation.air_run import credit_code, in_park, on_earth
from citybrain.simulation.moments import city_time
from citybrain.stories.pollution import command, plan, report
from citybrain.stories.pollution.check import Day, checks
from citybrain.stories.pollution.officials import Verdict

LIMIT = 500.0


def reading(station: str, value: float, second: float) -> pb.Reading:
    return pb.Reading(station_id=station, sensor_id="SO2", value=value, measured_at=city_time(second))


def day(
    *, after_s: float = 600, apart_m: float = 20, quiet: bool = False, firm: str = "", sent: Sequence[pb.Reading] = ()
) -> Day:
    """A day on which the source is noticed after some seconds, and traced to a place so far from it."""
    made = plan.made(2, quiet=quiet)
    played = Day(made, 0)
    if quiet:
        played.sent = [reading("s00", 10, plan.BEGIN_S)]
        return played
    release, culprit = made.park.release, made.culprit
    assert release is not None
    assert culprit is not None
    at = release.begin_s + after_s
    played.sent = sent or [reading("s00", 900, at), reading("s01", 600, at + 300), reading("s02", 30, at)]
    first = ev.ExceedanceSuspected(
        exceedance_id="exc-1", limit=LIMIT, reading=pb.SupportingReading(station_id="s00", value=900, measured_at=city_time(at))
    )
    played.suspected = [first]
    played.verified = [
        ev.ExceedanceVerified(exceedance_id="exc-1", limit=LIMIT, station_ids=["s00", "s01"], value=900, first_at=city_time(at))
    ]
    place = on_earth(Place(release.place.east_m + apart_m, release.place.north_m))
    source = pb.TracedSource(source_id=firm or culprit.source_id, residual=0.1, found=True, place=place)
    played.trace, played.traced_s = pb.Trace(place=place, sources=[source], statement="Well determined."), at + 2700
    return played


def held(played: Day) -> list[bool]:
    return [check.holds for check in checks(played)]


def test_a_day_on_which_all_is_found_holds_in_every_point() -> None:
    assert held(day()) == [True, True, True, True]
    assert day().apart_m == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize(("played", "wrong"), [
    (day(after_s=-600), 0),
    (day(after_s=7200), 0),
    (day(apart_m=151), 2),
    (day(firm="stack-none"), 3),
])  # fmt: skip
def test_what_is_not_right_is_said_in_its_point(played: Day, wrong: int) -> None:
    assert held(played)[wrong] is False


def test_a_source_that_is_in_no_register_has_a_place_and_no_firm() -> None:
    nobody = replace(day(), plan=plan.made(3))
    release = nobody.plan.park.release
    assert release is not None
    at = release.begin_s + 600
    nobody.sent = [reading("s00", 900, at), reading("s01", 600, at + 300)]
    nobody.verified[0].first_at.CopyFrom(city_time(at))
    nobody.suspected[0].reading.measured_at.CopyFrom(city_time(at))
    nobody.trace = pb.Trace(place=on_earth(release.place), sources=[pb.TracedSource(source_id="stack-1", found=False)])
    assert held(nobody) == [True] * 4
    nobody.trace.sources[0].found = True
    assert held(nobody)[3] is False


def judged(spoil: bytes = b"s01", told: Sequence[str] = ("UNKNOWN", "RESTRICTED", "CLEAR")) -> Day:
    """A day whose case is over; `spoil`: what of its evidence somebody has changed afterwards."""
    one, record = day(), None
    lines = []
    for body in ({"stations": ["s00", "s01"]}, {"finding": "a pipe"}):
        record = sealed_chain.following(record, "2026-11-30T11:50:00Z", "readings", body)
        lines.append(sealed_chain.line(record).encode().replace(b"s01", spoil))
    assert record is not None
    one.verdict = Verdict([getattr(credit, f"CREDIT_DECISION_{name}") for name in told], lines, record.seal)
    return one


def test_a_case_holds_where_its_evidence_is_whole_and_the_firm_is_restricted_until_it_has_put_it_right() -> None:
    assert held(judged()) == [True] * 6
    assert held(judged(spoil=b"s09"))[4] is False, "changed"
    for told in (("RESTRICTED", "RESTRICTED", "CLEAR"), ("UNKNOWN", "CLEAR", "CLEAR"), ("UNKNOWN", "RESTRICTED", "RESTRICTED")):
        assert held(judged(told=told))[5] is False
    short = judged()
    assert short.verdict is not None
    del short.verdict.lines[-1]
    assert held(short)[4] is False, "its end is missing"


def test_sensors_that_did_not_read_it_together_confirm_nothing() -> None:
    release = plan.made(2).park.release
    assert release is not None
    at = release.begin_s + 600
    low = day(sent=[reading("s00", 900, at), reading("s01", 400, at + 300)])
    late = day(sent=[reading("s00", 900, at), reading("s01", 900, at + 1200)])
    other = day(sent=[reading("s00", 900, at), reading("s02", 900, at)])
    assert [held(one)[1] for one in (low, late, other)] == [False, False, False]


def test_without_a_source_whatever_is_raised_is_wrong() -> None:
    quiet = day(quiet=True)
    assert held(quiet) == [True, True]
    quiet.suspected = [ev.ExceedanceSuspected(exceedance_id="exc-1")]
    assert held(quiet)[0] is False
    assert command.rates([quiet]) == ["found: 0 of 0 sources; raised for nothing: on 1 of 1 days"]
    assert command.rates([day(), day(after_s=7200, apart_m=100)]) == [
        "found: 1 of 2 sources; raised for nothing: on 0 of 0 days",
        "traced place, from the true one: median 60 m, at most 100 m, of 2",
    ]


def test_each_seed_hides_a_source_that_several_sensors_can_see_near_the_stack_of_its_firm() -> None:
    for seed in range(1, 21):
        made = plan.made(seed)
        assert isinstance(made.park.release, Release)
        if seed % 3 == 0:
            assert made.culprit is None, "nobody in the register"
            assert min(made.park.release.place.to(stack.place) for stack in made.stacks) > 300
        else:
            assert made.culprit is not None
            assert made.park.release.place.to(made.culprit.place) < 120
        assert plan.made(seed) == made
        assert plan.made(seed, quiet=True).park.release is None


def test_a_place_of_the_park_is_the_same_place_on_the_earth() -> None:
    place = Place(1234.5, -987.6)
    back = in_park(on_earth(place))
    assert back.to(place) < 0.01


def test_firms_have_codes_with_the_check_digit_of_the_standard() -> None:
    codes = {credit_code(number) for number in range(40)}
    assert len(codes) == 40
    assert [uscc(code) for code in codes] == list(codes)


def test_the_page_says_what_was_played_and_what_was_found_in_both_languages(tmp_path: Path) -> None:
    report.write(day(), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "traced to 20 m from where it is" in text
    assert "相距 20 米" in text
    assert "Verified by s00, s01" in text
    assert text.count("✓") == 4
    assert "CC BY 4.0" in text
