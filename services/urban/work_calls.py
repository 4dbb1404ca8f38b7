"""The work that is asked for by what windows and timers have found.

It hears the events, since nobody repeats a window or a timer that was interrupted after its event: the work would be lost.
"""

from __future__ import annotations

from typing import Any

from citybrain.urban.v1 import devices_pb2 as dev
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import water_pb2 as water

from citybrain.mesh.service import Heard, subscribe
from citybrain.services.urban import facilities, leaks, outlook
from citybrain.services.urban.field_calls import FieldCalls
from citybrain.services.urban.kinds import DEVICES


class WorkCalls(FieldCalls):
    """Work orders that events ask for."""

    @subscribe(ev.AnomalyFound, ev.LeakSuspected, ev.LeakFound, ev.FacilityCheckMissed, ev.DrainageOutlookChanged)
    def ask_for_work(self, event: Heard) -> None:
        """Opens the work order of what was found, once. What is retracted meanwhile needs none."""
        data: Any = event.data
        match data:
            case ev.AnomalyFound():
                self._look_after(data.anomaly)
            case ev.LeakFound():
                leak = self.leaks.load(data.leak_id).leak
                if leak is not None and leak.suspect_device_id:
                    self._finish(leaks.order_id(leak.leak_id, "suspected"), "water is lost")
                if leak is not None and leak.state != water.LEAK_STATE_RETRACTED:
                    self._close_off(leak)
            case ev.LeakSuspected():
                leak = self.leaks.load(data.leak_id).leak
                if leak is not None and leak.state == water.LEAK_STATE_SUSPECTED:
                    self._look_at(leak)
            case ev.FacilityCheckMissed():
                one = facilities.existing(self.facilities.load(data.facility_id), data.facility_id)
                task = f"check {one.name}: it was to be checked every {one.check_days} days"
                self._open(data.order_id, one.kind, one.facility_id, one.position, one.district_id, task)
            case ev.DrainageOutlookChanged() if data.outlook.level >= outlook.LEVELS[-1]:
                places = ", ".join(node.node_id for node in data.outlook.nodes[:5])
                task = f"in an hour {data.network_id} will be full at {places}: send pumps"
                self._open(data.order_id, "drainage", data.network_id, None, data.district_id, task)

    def _look_after(self, anomaly: dev.Anomaly) -> None:
        now = self.devices.load(anomaly.device_id).anomalies.get(anomaly.anomaly_id)
        if now is None or not now.retracted:
            task = f"look after {anomaly.device_id} ({anomaly.kind}): {anomaly.chart.rule} shows what is not usual"
            order = DEVICES[anomaly.kind].order
            self._open(anomaly.order_id, order, anomaly.anomaly_id, anomaly.position, anomaly.district_id, task)

    def _look_at(self, leak: water.Leak) -> None:
        pipes = ", ".join(each.pipe_id for each in leak.candidates)
        task = f"look at the sensor {leak.suspect_device_id}, and whether water is lost in one of the pipes {pipes}"
        self._open(leak.order_id, "water", leak.leak_id, None, leak.district_id, task)

    def _close_off(self, leak: water.Leak) -> None:
        pipes = ", ".join(each.pipe_id for each in leak.candidates) or "unknown"
        valves = ", ".join(f"{one.pipe_id} at {one.node_id}" for one in leak.isolation.valves) or "none known"
        task = f"water is lost in {leak.network_id}, in one of the pipes {pipes}; close the valves {valves}"
        self._open(leak.order_id, "water", leak.leak_id, None, leak.district_id, task)
