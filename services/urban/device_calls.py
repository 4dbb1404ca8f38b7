"""Methods of devices in the street, and the windows of what they report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from citybrain.urban.v1 import devices_pb2 as pb
from citybrain.urban.v1 import events_pb2 as ev

from citybrain.mesh.events import timestamp
from citybrain.mesh.kept import Kept
from citybrain.mesh.service import Caller, Readings, Streams, View, Window, every, off_loop, rpc, window
from citybrain.services.urban import control_chart, devices, readings, views
from citybrain.services.urban.charting import Charting, Fleet, Taken
from citybrain.services.urban.order_calls import OrderCalls

TOGETHER = 500
"""So many baselines go into one event."""


def fleet(rows: Sequence[views.DeviceRow]) -> Fleet:
    """All devices, for the charts."""
    return Fleet(views.devices(rows))


class DeviceCalls(OrderCalls):
    """Devices, their readings and their anomalies."""

    devices = Streams("device", devices.DeviceState, devices.evolve, district=devices.district_of)
    baselines = Streams("baselines", int, lambda count, _event: count + 1)
    device_list = View(views.DEVICE_EVENTS, views.device_key, views.device, row=views.DeviceRow)
    learnt = View(views.LEARNT_EVENTS, views.learnt_key, views.learnt_together, row=views.LearntTogether)
    anomaly_list = View(views.ANOMALY_EVENTS, views.anomaly_key, views.anomaly, row=Kept)
    silent_list = View(views.SILENT_EVENTS, views.silent_key, views.silent, row=views.SilentRow)
    charts = Charting()
    batches = Readings()
    caller = Caller()

    @rpc
    def RegisterDevices(self, request: pb.RegisterDevicesRequest) -> pb.RegisterDevicesResponse:
        """Makes devices known, or changed: all of them, or none where one cannot be."""
        for index, device in enumerate(request.devices):
            devices.check(index, device)
        changed = 0
        for device in request.devices:
            changed += self.devices.handle(
                device.device_id,
                lambda state, device=device: devices.register(state, device),  # type: ignore[misc]
                lambda _after, events: len(events),
            )
        return pb.RegisterDevicesResponse(changed=changed)

    @rpc
    def RelearnDevice(self, request: pb.RelearnDeviceRequest) -> pb.RelearnDeviceResponse:
        """What was learnt of it counts no more."""
        now = self._now()
        return self.devices.handle(
            request.device_id,
            lambda state: devices.relearn(state, request, now),
            lambda _after, _: pb.RelearnDeviceResponse(),
        )

    @rpc
    def GetDevice(self, request: pb.GetDeviceRequest) -> pb.GetDeviceResponse:
        """A device, and the anomaly that goes on."""
        state = self.devices.load(request.device_id)
        return pb.GetDeviceResponse(
            device=devices.existing(state, request.device_id),
            anomaly=state.anomalies.get(state.open_id),
            anomalies=state.found,
            silent=state.silent_in is not None,
        )

    @rpc
    def ReportReadings(self, request: pb.ReportReadingsRequest) -> pb.ReportReadingsResponse:
        """Takes readings in, but for those that cannot be right."""
        good, answer = readings.sort(request, self.device_list.derived(views.kinds), self.clock.now())
        if good.readings:
            self.batches.put(good)
        return answer

    @rpc
    def CorrectReadings(self, request: pb.CorrectReadingsRequest) -> pb.CorrectReadingsResponse:
        """Computes anomalies anew whose readings are corrected. What is retracted has no work order any more."""
        now = self._now()
        told = self.devices.handle(
            request.device_id, lambda state: devices.correct(state, request, now), lambda _after, events: list(events)
        )
        answer = pb.CorrectReadingsResponse()
        for one in told:
            if isinstance(one, ev.AnomalyRetracted):
                answer.retracted_ids.append(one.anomaly_id)
                self._void(_order_of(one.anomaly_id), f"the anomaly is retracted: {request.reason}")
            elif isinstance(one, ev.AnomalyUpheld):
                answer.standing_ids.append(one.anomaly_id)
        self._correct_pressures(request, answer)
        return answer

    @rpc
    def ListAnomalies(self, request: pb.ListAnomaliesRequest) -> pb.ListAnomaliesResponse:
        """Those that go on, in pages."""
        prefix = views.overdue_prefix(request.district_id) if request.district_id else ""
        page, more = self.paging.scan(request, self.anomaly_list, default=50, prefix=prefix)
        return pb.ListAnomaliesResponse(anomalies=[views.anomaly_of(row) for _, row in page], next_page_token=more)

    @rpc
    def ListSilentDevices(self, request: pb.ListSilentDevicesRequest) -> pb.ListSilentDevicesResponse:
        """Those from which nothing comes, in pages."""
        prefix = views.overdue_prefix(request.district_id) if request.district_id else ""
        page, more = self.paging.scan(request, self.silent_list, default=50, prefix=prefix)
        return pb.ListSilentDevicesResponse(devices=[views.silent_device(row) for _, row in page], next_page_token=more)

    @every(600)
    def look_for_silent(self) -> None:
        """Tells from which devices nothing has come for hours. It begins to count when the service does."""
        now = self.clock.now()
        if self.charts.knows_from is None:
            self.charts.knows_from = now
        known = self.silent_list.derived(views.silent_devices)
        for device_id, heard in off_loop(self.charts.silent, self.device_list.derived(fleet), now).items():
            if device_id not in known:
                self.devices.handle(
                    device_id,
                    lambda state, heard=heard: devices.fall_silent(state, heard, timestamp(now)),  # type: ignore[misc]
                    lambda _after, _: None,
                )

    @window(
        pb.ReportReadingsRequest, seconds=readings.WINDOW_S, readings=readings.readings, fold=readings.fold,
        late_s=readings.BEHIND_S,
    )  # fmt: skip
    def minute(self, window: Window) -> None:
        """Takes a minute into the charts, and tells what has happened in it."""
        if not self.charts.begun:
            self._recall(window.start)
        taken = off_loop(
            self.charts.take,
            window.start,
            window.states,
            self.device_list.derived(fleet),
            self.learnt.derived(views.learnt),
            self.anomaly_list.derived(views.going_on),
        )
        self._tell(taken)
        for device_id in self.silent_list.derived(views.silent_devices) & window.states.keys():
            self.devices.handle(
                device_id,
                lambda state, device_id=device_id: devices.hear(state, device_id, timestamp(window.end)),  # type: ignore[misc]
                lambda _after, _: None,
                label="heard",
            )
        self._take_pressures(window)
        self._take_rain(window)

    def _recall(self, until: int) -> None:
        """What was in memory before a restart, from the readings that are kept."""
        self.charts.forget()
        since = self.charts.knows_from = until - readings.RECALLED_MIN * readings.WINDOW_S * readings.MICROSECONDS
        again = readings.Refolding(until)
        for batches in self.batches.kept(pb.ReportReadingsRequest, since):
            self._recall_windows(off_loop(again.take, batches))
        self._recall_windows(again.rest())

    def _recall_windows(self, found: Sequence[tuple[int, Mapping[str, readings.Folded]]]) -> None:
        known, learnt = self.device_list.derived(fleet), self.learnt.derived(views.learnt)
        for start, states in found:
            off_loop(self.charts.recall, start, states, known, learnt)
            self._recall_rain(start, states)

    def _recall_rain(self, start: int, states: Mapping[str, readings.Folded]) -> None:
        """The rain of a minute before a restart; see `drainage_calls.py`."""
        raise NotImplementedError

    def _take_pressures(self, window: Window) -> None:
        """What the pressures of water networks show; see `water_calls.py`."""
        raise NotImplementedError

    def _take_rain(self, window: Window) -> None:
        """What the rain of a minute brings; see `drainage_calls.py`."""
        raise NotImplementedError

    def _correct_pressures(self, request: pb.CorrectReadingsRequest, answer: pb.CorrectReadingsResponse) -> None:
        """What corrected pressures change; see `water_calls.py`."""
        raise NotImplementedError

    def _tell(self, taken: Taken) -> None:
        now = timestamp(taken.start + readings.WINDOW_S * readings.MICROSECONDS)
        known = list(taken.learnt.items())
        for number in range(0, len(known), TOGETHER):
            learnt = ev.BaselinesLearnt(
                learnt_at=now, windows=control_chart.LEARNING, version=control_chart.VERSION,
                baselines=[
                    ev.LearntBaseline(device_id=one, baseline=pb.Baseline(mean=mean, sigma=sigma))
                    for one, (mean, sigma) in known[number : number + TOGETHER]
                ],
            )  # fmt: skip
            self.baselines.handle(
                f"{taken.start}-{number}",
                lambda count, learnt=learnt: [] if count else [learnt],  # type: ignore[misc]
                lambda _after, _: None,
            )
        self._tell_anomalies(taken.found, taken.calm, taken.start + readings.WINDOW_S * readings.MICROSECONDS)

    def _tell_anomalies(self, found: Sequence[pb.Anomaly], calm: Sequence[str], now_us: int) -> None:
        """Tells anomalies that are found, and ends those of devices that are calm again."""
        now = timestamp(now_us)
        for anomaly in found:
            anomaly.order_id = _order_of(anomaly.anomaly_id)
            self.devices.handle(
                anomaly.device_id,
                lambda state, anomaly=anomaly: devices.find(state, anomaly),  # type: ignore[misc]
                lambda _after, _: None,
                label=anomaly.anomaly_id,
            )
        for device_id in calm:
            self.devices.handle(
                device_id,
                lambda state, device_id=device_id: devices.end(state, device_id, now),  # type: ignore[misc]
                lambda _after, _: None,
                label="end",
            )


def _order_of(anomaly_id: str) -> str:
    """The work order of an anomaly."""
    return f"wo-{anomaly_id.removeprefix('ano-')}"
