"""What did not happen is said to be missing, and is no figure."""

from __future__ import annotations

from typing import Any

import pytest

from citybrain.demo import page
from citybrain.demo.command import faults
from citybrain.demo.run import Outcome
from citybrain.demo.words import sentence

SAFE = {"dropped": 0, "short_yellow": 0, "no_gap": 0, "foes_green": 0}


def result(*rides: tuple[float, bool], **safety: int) -> dict[str, Any]:
    """A drive with calls of so many seconds that ended at the hospital, or did not."""
    calls = [
        {"called_at": 0, "began": 5, "ride_s": seconds, "red_wait_s": 3, "finished": there, "at_scene_s": 60,
         "at_hospital_s": seconds + 60 if there else None}
        for seconds, there in rides
    ]  # fmt: skip
    return {"calls": calls, "others": {"mean_time_loss_s": 1.0}, "end": 2000, "begin": 0, "safety": {**SAFE, **safety}}


@pytest.mark.parametrize(
    ("without", "with_city", "said", "not_said"),
    [
        (300.0, 200.0, "1 min 40 s sooner", "compare"),
        (None, 200.0, "at the hospital door 3 min 20 s after the call. The drive without it did not get there", "sooner"),
        (300.0, None, "did not get to the hospital before the run ended; without it, 5 min 00 s", "sooner"),
        (None, None, "In neither drive", "sooner"),
    ],
)
def test_a_patient_who_did_not_arrive_is_compared_with_nobody(
    without: float | None, with_city: float | None, said: str, not_said: str
) -> None:
    english, chinese = sentence(without, with_city)
    assert said in english and not_said not in english
    assert ("提前" in chinese) == ("sooner" in english)


def test_a_ride_that_did_not_end_is_no_time_of_driving() -> None:
    outcome = Outcome(results={"ordinary": result((1200, False)), "city": result((200, True))})
    rows = dict(page.times([outcome]))
    assert rows["driving"] == {"ordinary": None, "city": 200}
    assert rows["report → hospital door"] == {"ordinary": None, "city": 265}
    assert rows["standing at red lights"] == {"ordinary": None, "city": 3}


def test_a_drive_in_which_signals_were_unsafe_is_no_success() -> None:
    fine = Outcome(results={"city": result((200, True)), "ordinary": result((300, True), dropped=7)})
    assert faults([fine, fine]) == ""
    unsafe = Outcome(results={"city": result((200, True), dropped=2, no_gap=1)})
    assert "2 × dropped, 1 × no gap" in faults([fine, unsafe])
