"""The mesh is killed while too many people are at a place, where that matters most; at every step in tests/soak."""

from __future__ import annotations

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import peaks_pb2 as peaks

from citybrain.local.child import MeshChild
from tests.helpers.killer import KillAtEachStep
from tests.helpers.paper_lake import HALL_M2, HOLDS, PaperLake

HERE = frozenset({"stop_entry", "clear_entry", "reopen_entry"})


def test_killed_when_entry_stops_and_when_it_opens_nobody_is_let_in_before_a_person_has_cleared_it(
    mesh: MeshChild, lake: PaperLake
) -> None:
    lake.count(round(0.95 * HOLDS))
    saga_id = lake.peak().peak_id
    killer = KillAtEachStep(mesh, lake, saga_id, HERE)
    lake.count_until(lambda: lake.peak().level == 100, HOLDS, hall=6 * HALL_M2)
    lake.count_until(lambda: lake.step(saga_id, "clear_entry") == "asked", round(0.5 * HOLDS))
    assert peaks.MEASURE_KIND_STOP_ENTRY in lake.kinds()
    lake.clear(saga_id)
    lake.count_until(lambda: lake.kinds() == [], round(0.5 * HOLDS))
    assert killer.killed_at(set(HERE)) >= HERE
    happened = lake.happened(ev.MeasureOrdered, ev.MeasureLifted)
    assert happened["MeasureOrdered"] == happened["MeasureLifted"] == 4
