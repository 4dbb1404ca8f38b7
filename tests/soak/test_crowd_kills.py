"""The mesh is killed at every step of a peak crowd, at every step that gives back what it held, and at every undo."""

from __future__ import annotations

from citybrain.safety.v1.events_pb2 import UnitAssigned, UnitsReleased
from citybrain.sagas.v1 import saga_service_pb2 as sagas
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import peaks_pb2 as peaks
from citybrain.traffic.v1.events_pb2 import TransportRequested, TransportWithdrawn
from citybrain.urban.v1.events_pb2 import ParkingEntryClosed

from citybrain.local.child import MeshChild
from tests.helpers.killer import KillAtEachStep
from tests.helpers.paper_lake import HALL_M2, HOLDS, PaperLake

STEPS = {
    "suggest_elsewhere", "tell_80", "post_police", "reserve_ambulance", "request_buses", "request_frequency",
    "request_signal_plan", "pause_booking", "close_parking", "stop_entry", "tell_full", "disperse", "report_crowd",
    "call_joint_command", "clear_entry", "reopen_entry", "open_parking", "resume_booking",
}  # fmt: skip
RESTORED = {
    "end_signal_plan", "end_frequency", "release_buses", "release_ambulance", "recall_police", "end_notices", "review",
}  # fmt: skip


def test_killed_at_every_step_a_place_is_closed_once_and_opened_when_a_person_has_cleared_it(
    mesh: MeshChild, lake: PaperLake
) -> None:
    lake.count(round(0.82 * HOLDS))
    saga_id = lake.peak().peak_id
    killer = KillAtEachStep(mesh, lake, saga_id)
    lake.count_until(lambda: lake.held()[:2] == (3, 1), round(0.82 * HOLDS))
    lake.count_until(lambda: lake.peak().level == 100, HOLDS, hall=6 * HALL_M2)
    lake.count_until(lambda: lake.step(saga_id, "clear_entry") == "asked", round(0.5 * HOLDS))
    assert peaks.MEASURE_KIND_STOP_ENTRY in lake.kinds()
    lake.clear(saga_id)
    lake.count_until(lambda: lake.kinds() == [], round(0.5 * HOLDS))
    assert killer.killed_at(STEPS) >= STEPS
    once = (ev.PeakBegan, UnitAssigned, ParkingEntryClosed, TransportRequested)
    happened = lake.happened(*once, ev.MeasureOrdered, ev.MeasureLifted)
    assert [happened[kind.DESCRIPTOR.name] for kind in once] == [1, 3, 1, 3]
    assert happened["MeasureOrdered"] == happened["MeasureLifted"] == 4
    assert lake.held() == (3, 1, False), "the peak is not over yet"


def test_killed_at_every_step_of_its_end_all_is_given_back_and_reviewed_once(mesh: MeshChild, lake: PaperLake) -> None:
    lake.count(round(0.85 * HOLDS))
    saga_id = lake.peak().peak_id
    lake.answer_all()
    lake.count_until(lambda: lake.kinds() == [], round(0.5 * HOLDS))
    killer = KillAtEachStep(mesh, lake, saga_id)
    lake.count_until(lambda: lake.ended(saga_id), round(0.5 * HOLDS), minutes=60)
    assert killer.killed_at(RESTORED) >= RESTORED
    assert lake.saga(saga_id).state == sagas.SAGA_STATE_COMPLETED
    assert (lake.held(), lake.requests()) == ((0, 0, False), [])
    happened = lake.happened(ev.PeakEnded, ev.PeakReviewed, TransportWithdrawn, UnitsReleased)
    assert happened == {"PeakEnded": 1, "PeakReviewed": 1, "TransportWithdrawn": 3, "UnitsReleased": 1}
    assert lake.peak().review.most_people == round(0.85 * HOLDS)


def test_killed_at_every_undo_a_peak_that_was_none_leaves_nothing(mesh: MeshChild, lake: PaperLake) -> None:
    lake.count(HOLDS)
    saga_id = lake.peak().peak_id
    lake.answer_all()
    killer = KillAtEachStep(mesh, lake, saga_id)
    lake.correct(1000)
    for _ in range(60):
        lake.rest()
        state = lake.saga(saga_id).state
        if state == sagas.SAGA_STATE_UNDONE:
            break
        if state == sagas.SAGA_STATE_NEEDS_HUMAN:
            lake.clear_undo(saga_id)
        lake.advance(5)
    undone = {f"undo {step}" for step in ("stop_entry", "pause_booking", "close_parking", "suggest_elsewhere", "post_police")}
    assert killer.killed_at(undone) >= undone
    assert lake.saga(saga_id).state == sagas.SAGA_STATE_UNDONE
    assert (lake.held(), lake.requests(), lake.kinds()) == ((0, 0, False), [], [])
    assert lake.peak().state == peaks.PEAK_STATE_RETRACTED
