"""What did not happen is said to be missing, and is no figure."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.events.v1.event_pb2 import Event
from citybrain.health.v1.events_pb2 import AmbulanceReserved
from citybrain.roads.v1.roads_pb2 import Route
from rich.console import Console

from citybrain.stories.emergency import page
from citybrain.stories.emergency.command import _measured, _tell_differences, faults
from citybrain.stories.emergency.run import Outcome
from citybrain.stories.emergency.show import NAMES
from citybrain.stories.emergency.statistics import paired
from citybrain.stories.emergency.words import Driven, sentence

SAFE = {"dropped": 0, "short_yellow": 0, "no_gap": 0, "foes_green": 0}


def result(*rides: tuple[float, bool], **safety: int) -> dict[str, Any]:
    """A drive with calls of so many seconds that ended at the hospital, or did not."""
    calls = [
        {"incident_id": f"inc-{number}", "called_at": 0, "began": 5, "ride_s": seconds, "red_wait_s": 3, "finished": there,
         "at_scene_s": 60, "at_hospital_s": seconds + 60 if there else None}
        for number, (seconds, there) in enumerate(rides)
    ]  # fmt: skip
    return {"calls": calls, "others": {"mean_time_loss_s": 1.0}, "end": 2000, "begin": 0, "safety": {**SAFE, **safety}}


@pytest.mark.parametrize(
    ("lights", "siren", "city", "said", "chinese"),
    [
        (300, Driven(210, 3), 200, "1 min 40 s sooner than when obeying", "比遵守信号灯早 1 分 40 秒，比仅鸣笛闪灯早 10 秒"),
        (300, Driven(198, 3), 200, "2 s later than with a siren alone. It ran 1 red light; with a siren alone 3", "晚 2 秒"),
        (300, Driven(200, 0), 200, "no sooner than with a siren alone. It ran 1 red light; with a siren alone no", "相同"),
        (None, Driven(210, 3), 200, "when obeying the lights it did not get there before the run ended and 10", "没有到达，比"),
        (300, None, 200, "1 min 40 s sooner than when obeying the lights. It ran 1 red light.", "途中闯红灯 1 次。"),
        (300, Driven(210, 3), None, "did not get to the hospital before the run ended.", "没有到达医院"),
    ],
)  # fmt: skip
def test_what_the_city_added_is_told_beside_what_a_siren_does_alone_and_who_did_not_arrive_is_compared_with_nobody(
    lights: float | None, siren: Driven | None, city: float | None, said: str, chinese: str
) -> None:
    english, in_chinese = sentence(Driven(lights, 0), siren, Driven(city, 1))
    assert said in english, english
    assert chinese in in_chinese, in_chinese
    assert city is not None or ("sooner" not in english and "早" not in in_chinese)


def test_where_sumo_crashed_in_the_other_drives_only_what_the_city_did_is_told() -> None:
    english, chinese = sentence(None, None, Driven(200, 0))
    assert english.endswith("at the hospital 3 min 20 s after the call. It ran no red light.")
    assert chinese.endswith("用时 3 分 20 秒。途中闯红灯 0 次。")
    outcomes = [Outcome(results={"ordinary": result((300, True)), "city": result((200, True))}),
                Outcome(results={"city": result((100, True))})]  # fmt: skip
    rows = dict(page.times(outcomes))
    assert rows["driving"] == {"ordinary": 300, "city": 150}


def test_a_ride_that_did_not_end_is_no_time_of_driving() -> None:
    outcome = Outcome(results={"ordinary": result((1200, False)), "city": result((200, True))})
    rows = dict(page.times([outcome]))
    assert rows["driving"] == {"ordinary": None, "city": 200}
    assert rows["report → hospital door"] == {"ordinary": None, "city": 265}
    assert rows["standing at red lights"] == {"ordinary": None, "city": 3}


def test_red_lights_are_counted_for_each_drive_beside_its_times_in_both_languages() -> None:
    ordinary, siren, with_city = (result((200, True), (210, True)) for _ in range(3))
    for drive, reds in ((ordinary, 0), (siren, 2), (with_city, 1)):
        drive["calls"][1] |= {"reds_run": reds, "signals_passed": 5}
    outcome = Outcome(results={"ordinary": ordinary, "bluelight": siren, "city": with_city})
    rows = dict(page.times([outcome, outcome]))
    assert rows["red lights run, of signals passed"] == {"ordinary": "0 / 10", "bluelight": "4 / 10", "city": "2 / 10"}
    for names in (NAMES, {variant: " ".join(both) for variant, both in page.report.VARIANTS.items()}):
        assert "siren alone 仅鸣笛闪灯" in names["bluelight"].replace("Siren", "siren")


def test_a_mean_over_calls_of_which_one_did_not_arrive_is_missing_and_so_is_what_would_be_told_of_it() -> None:
    known = AmbulanceReserved(route=Route(travel_time_s=180))
    told = Event(type="citybrain.health.v1.AmbulanceReserved")
    told.data.Pack(known)
    some = Outcome(results={"city": result((200, True), (900, False))}, incidents={"inc-0": [told]})
    rows = dict(page.times([some]))
    assert rows["driving, as estimated at the start"] == {"city": 180}
    assert rows["driving"] == rows["report → hospital door"] == rows["error of that estimate"] == {"city": None}
    there = Outcome(results={"city": result((200, True))}, incidents=some.incidents)
    assert dict(page.times([there]))["error of that estimate"] == {"city": 20}


def test_a_drive_that_did_not_arrive_is_shown_to_the_end_of_the_run() -> None:
    for there, shown in ((True, 265), (False, 2000)):
        drive = result((200, there))
        assert page._door(drive, drive["calls"][0]) == shown


def test_rides_that_did_not_end_are_in_no_difference_and_no_median_and_it_is_said_how_many(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ordinary = result((300, True), (1200, False), (310, True))
    outcome = Outcome(results={"city": result((200, True), (100, True), (1200, False)), "ordinary": ordinary})
    nobody = Outcome(results={"city": result((200, True)), "ordinary": result((1200, False))})
    _tell_differences(Console(width=200), [outcome, nobody], 1)
    (line,) = capsys.readouterr().out.splitlines()
    assert "city 没有城市大脑: -100 s [-100, -100], 1 ride;" in line and line.endswith("; 3 left out that did not arrive")
    _tell_differences(Console(width=200), [nobody], 1)
    assert capsys.readouterr().out == ""
    assert [_measured(one)["median_ride_s"] for one in (outcome, nobody)] == [
        {"city": 150, "ordinary": 305},
        {"city": 200, "ordinary": None},
    ]


def test_a_difference_is_the_median_of_all_pairs_and_its_interval_comes_from_the_seeds() -> None:
    alone = paired({1: [-10, -30, -20]})
    assert (alone.median, alone.low, alone.high, alone.pairs) == (-20, -30, -10, 3)
    # All calls of a seed share their traffic: many of them are no more than one.
    few = paired({1: [-10] * 50, 2: [-20] * 50, 3: [-30] * 50})
    assert (few.median, few.low, few.high, few.pairs) == (-20, -30, -10, 150)
    many = paired({seed: [-seed] for seed in range(99)})
    assert -98 < many.low < many.median == -49 < many.high < 0


def test_a_drive_in_which_signals_were_unsafe_is_no_success() -> None:
    fine = Outcome(results={"city": result((200, True)), "ordinary": result((300, True), dropped=7)})
    assert faults([fine, fine]) == ""
    unsafe = Outcome(results={"city": result((200, True), dropped=2, no_gap=1)})
    assert "2 × dropped, 1 × no gap" in faults([fine, unsafe])
