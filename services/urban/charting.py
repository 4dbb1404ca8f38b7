"""The control charts of all devices, in memory: an array an item, an entry a device, so that 20,000 of them cost milliseconds.

What must last is told as events: a learnt baseline, an anomaly with all that it was found by. After a restart the charts are
moved anew by the readings that are kept (`recall`), so that a restart hides nothing that creeps, and nobody learns anew.

It is long because taking a window in is one piece of work on one set of arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from citybrain.urban.v1 import devices_pb2 as pb

from citybrain.mesh.events import timestamp
from citybrain.mesh.service import Provider
from citybrain.services.urban import control_chart as charts
from citybrain.services.urban.devices import anomaly_id
from citybrain.services.urban.kinds import DEVICES, SILENT_HOURS, SILENT_USUALLY_HOURS
from citybrain.services.urban.readings import MICROSECONDS, WINDOW_S, Folded
from citybrain.services.urban.views import DeviceRow, LearntRow

HOUR = 3_600_000_000
EVIDENCE = 12
"""So many windows an anomaly carries with it. They are those that a correction can change."""
_FLOATS = ("mean", "sigma", "limit", "until", "floor", "z", "high", "low", "sum", "squares")
_INTS = ("t", "learnt", "out", "over", "calm", "at", "dropped", "since", "heard")
_FLAGS = ("known", "charted", "open")


@dataclass(frozen=True, slots=True)
class Fleet:
    """All devices."""

    rows: Mapping[str, DeviceRow]


@dataclass(slots=True)
class Taken:
    """What a window brings: anomalies that are found, devices that are calm again, baselines that are learnt."""

    start: int
    found: list[pb.Anomaly] = field(default_factory=list)
    calm: list[str] = field(default_factory=list)
    learnt: dict[str, tuple[float, float]] = field(default_factory=dict)


class Charts:
    """The charts of all devices that are known."""

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._names: list[str] = []
        self._rows: list[DeviceRow] = []
        self._made_from: tuple[Any, Any] = (None, None)
        self._last: Taken | None = None
        self._recalled = Taken(0)
        # From when on it is known which devices report (microseconds).
        self.knows_from: int | None = None
        self._arrays: dict[str, Any] = {}
        self._grow(64)

    def _grow(self, size: int) -> None:
        """Makes room for so many devices."""
        before = self._arrays
        made: dict[str, Any] = {name: np.zeros(size) for name in _FLOATS}
        made |= {name: np.zeros(size, dtype=np.int64) for name in _INTS}
        made |= {name: np.zeros(size, dtype=bool) for name in _FLAGS}
        # Of each of the newest windows: its mean, readings and start, and where the chart stood before it.
        made |= {f"past_{name}": np.zeros((size, EVIDENCE)) for name in ("mean", "z", "high", "low")}
        made |= {f"past_{name}": np.zeros((size, EVIDENCE), dtype=np.int64) for name in ("n", "start", "t")}
        for name, array in before.items():
            made[name][: len(array)] = array
        self._arrays = made

    def _sync(self, fleet: Fleet, learnt: Mapping[str, LearntRow]) -> None:
        """Takes over what is known of devices, where that has changed."""
        if self._made_from == (fleet, learnt):
            return
        for device_id, row in fleet.rows.items():
            slot = self._slots.get(device_id)
            if slot is None:
                slot = self._slots[device_id] = len(self._names)
                self._names.append(device_id)
                self._rows.append(row)
                if slot >= len(self._arrays["mean"]):
                    self._grow(2 * slot)
            self._rows[slot] = row
            self._set(slot, row, learnt.get(device_id))
        self._made_from = (fleet, learnt)

    def _set(self, slot: int, row: DeviceRow, learnt: LearntRow | None) -> None:
        a, kind = self._arrays, DEVICES[row.kind]
        # A pressure that belongs to a network is compared with the model of that.
        a["charted"][slot], a["floor"][slot] = kind.charted and not row.network_id, kind.floor
        a["limit"][slot], a["until"][slot] = (row.alarm_from, row.alarm_until) if row.has_alarm else (np.inf, np.inf)
        mean, sigma = row.mean, row.sigma
        if not row.given and learnt is not None and learnt.at > row.dropped_at:
            mean, sigma = learnt.mean, learnt.sigma
        known = sigma > 0
        if a["dropped"][slot] != row.dropped_at or (known and (mean, sigma) != (a["mean"][slot], a["sigma"][slot])):
            self._begin(slot)
            for name in ("learnt", "sum", "squares"):
                a[name][slot] = 0
        # What was learnt just now is known before its event is heard.
        if known or a["dropped"][slot] != row.dropped_at:
            a["mean"][slot], a["sigma"][slot], a["known"][slot] = mean, sigma, known
        a["dropped"][slot] = row.dropped_at
        # A recalled window counts from here on: what came before was learnt from, or was wrong.
        learnt_at = learnt.at if learnt is not None and not row.given else 0
        a["since"][slot] = max(row.since, row.dropped_at, learnt_at)

    def _begin(self, slot: Any) -> None:
        """Lets charts begin anew."""
        for name in ("z", "high", "low", "t", "out", "over", "calm", "at"):
            self._arrays[name][slot] = 0
        self._arrays["past_n"][slot] = 0

    def take(
        self,
        start: int,
        states: Mapping[str, Folded],
        fleet: Fleet,
        learnt: Mapping[str, LearntRow],
        going_on: Iterable[str],
    ) -> Taken:
        """Takes a window in. `going_on`: devices whose anomaly goes on. The same window again brings the same."""
        if self._last is not None and self._last.start == start:
            return self._last
        self._sync(fleet, learnt)
        a = self._arrays
        open_now = np.zeros(len(a["open"]), dtype=bool)
        open_now[[self._slots[one] for one in going_on if one in self._slots]] = True
        # Where an anomaly was retracted, its readings must not find it again.
        self._begin(np.flatnonzero(a["open"] & ~open_now))
        a["open"] = open_now
        slots, means, counts = self._means(states)
        # What was learnt in recalled windows, and not told before the restart.
        self._last = taken = Taken(start, learnt=self._recalled.learnt)
        self._recalled = Taken(0)
        if not len(slots):
            return taken
        self._move(slots, means, counts, start, taken)
        is_open = a["open"][slots]
        found = ((a["out"][slots] >= charts.PERSISTENCE) | (a["over"][slots] >= charts.PERSISTENCE)) & ~is_open
        # The read model hears of it later, and of its retraction perhaps before the next window.
        a["open"][slots[found]] = True
        taken.found = [self._anomaly(int(slot), start) for slot in slots[found]]
        taken.calm = [self._names[slot] for slot in slots[is_open & (a["calm"][slots] >= charts.CALM)]]
        return taken

    @property
    def begun(self) -> bool:
        """Whether a window was taken in since the start."""
        return self._last is not None

    def forget(self) -> None:
        """Begins anew, as after a start."""
        Charts.__init__(self)

    def recall(self, start: int, states: Mapping[str, Folded], fleet: Fleet, learnt: Mapping[str, LearntRow]) -> None:
        """Takes in a window from before a restart. What happened in it was told then."""
        self._sync(fleet, learnt)
        slots, means, counts = self._means(states)
        counted = self._arrays["since"][slots] <= start
        self._move(slots[counted], means[counted], counts[counted], start, self._recalled)

    def silent(self, fleet: Fleet, now: int) -> dict[str, int]:
        """The devices from which nothing has come for hours, and until when something came (microseconds; 0: not known)."""
        begin = now if self.knows_from is None else self.knows_from
        found = {}
        for name, row in fleet.rows.items():
            slot = self._slots.get(name)
            heard = 0 if slot is None else int(self._arrays["heard"][slot])
            if now - max(heard, begin, row.since) > SILENT_HOURS.get(row.kind, SILENT_USUALLY_HOURS) * HOUR:
                found[name] = heard
        return found

    def _move(self, slots: Any, means: Any, counts: Any, start: int, taken: Taken) -> None:
        """Moves all charts on by a window."""
        a = self._arrays
        a["heard"][slots] = start + WINDOW_S * MICROSECONDS
        self._learn(slots, means, taken)
        self._keep(slots, means, counts, start)
        by_chart, calm = self._chart(slots, means)
        over = means > a["limit"][slots]
        a["over"][slots] = np.where(over, a["over"][slots] + 1, 0)
        a["out"][slots] = np.where(by_chart, a["out"][slots] + 1, 0)
        calm &= np.isinf(a["until"][slots]) | (means <= a["until"][slots])
        a["calm"][slots] = np.where(calm, a["calm"][slots] + 1, 0)

    def _means(self, states: Mapping[str, Folded]) -> tuple[Any, Any, Any]:
        """The devices that reported, the means of their windows, and of how many readings."""
        known = self._slots
        found = [(known[name], state) for name, state in states.items() if name in known]
        slots = np.array([slot for slot, _ in found], dtype=np.int64)
        counts = np.array([state[0].bit_count() for _, state in found], dtype=np.int64)
        totals = np.array([state[1] for _, state in found], dtype=np.float64)
        return slots, totals / np.maximum(counts, 1), counts

    def _learn(self, slots: Any, means: Any, taken: Taken) -> None:
        """Learns what is normal, where that is not known: mean and sample standard deviation of the first windows."""
        a = self._arrays
        new = ~a["known"][slots] & a["charted"][slots]
        if not new.any():
            return
        mine, x = slots[new], means[new]
        a["learnt"][mine] += 1
        # Welford's way: it does not lose digits where the mean is large.
        before = a["sum"][mine]
        after = before + (x - before) / a["learnt"][mine]
        a["squares"][mine] += (x - before) * (x - after)
        a["sum"][mine] = after
        ready = mine[a["learnt"][mine] >= charts.LEARNING]
        a["mean"][ready] = a["sum"][ready]
        a["sigma"][ready] = np.maximum(np.sqrt(a["squares"][ready] / (charts.LEARNING - 1)), a["floor"][ready])
        a["known"][ready] = True
        self._begin(ready)
        for slot in ready:
            taken.learnt[self._names[slot]] = (float(a["mean"][slot]), float(a["sigma"][slot]))

    def _keep(self, slots: Any, means: Any, counts: Any, start: int) -> None:
        """Keeps the window, and where the chart stood before it."""
        a = self._arrays
        place = a["at"][slots] % EVIDENCE
        for name, values in (("mean", means), ("n", counts), ("start", start)):
            a[f"past_{name}"][slots, place] = values
        for name in ("z", "high", "low", "t"):
            a[f"past_{name}"][slots, place] = a[name][slots]
        a["at"][slots] += 1

    def _chart(self, slots: Any, means: Any) -> tuple[Any, Any]:
        """Moves the charts on; whether each has a signal, and whether it is calm."""
        a = self._arrays
        # A device with neither chart nor limit is not calm by them: others say when its anomaly is over.
        signal, calm = np.zeros(len(slots), dtype=bool), np.isfinite(a["limit"][slots])
        use = a["known"][slots] & a["charted"][slots]
        mine = slots[use]
        before = charts.State(a["z"][mine], a["high"][mine], a["low"][mine], a["t"][mine])
        after, signals = charts.step(before, (means[use] - a["mean"][mine]) / a["sigma"][mine])
        a["z"][mine], a["high"][mine], a["low"][mine], a["t"][mine] = after.z, after.high, after.low, after.t
        signal[use], calm[use] = signals.ewma | signals.cusum, signals.calm
        return signal, calm

    def _anomaly(self, slot: int, start: int) -> pb.Anomaly:
        """The anomaly that is found now, with its basis."""
        a, row, name = self._arrays, self._rows[slot], self._names[slot]
        known = min(int(a["at"][slot]), EVIDENCE)
        places = [(int(a["at"][slot]) - known + n) % EVIDENCE for n in range(known)]
        first = places[0]
        made = pb.Anomaly(
            anomaly_id=anomaly_id(name, start), device_id=name, kind=row.kind, district_id=row.district_id,
            found_at=timestamp(start + WINDOW_S * MICROSECONDS),
        )  # fmt: skip
        made.position.latitude, made.position.longitude = row.latitude, row.longitude
        made.chart.version = charts.VERSION
        if a["over"][slot] >= charts.PERSISTENCE:
            made.chart.rule, made.chart.limit = "LIMIT", a["limit"][slot]
        else:
            limit = charts.ewma_width(int(a["t"][slot]), 1.0)
            made.chart.rule = "EWMA" if abs(a["z"][slot]) > limit else "CUSUM"
            made.chart.baseline.mean, made.chart.baseline.sigma = a["mean"][slot], a["sigma"][slot]
            made.chart.ewma = a["past_z"][slot, first]
            made.chart.cusum_high, made.chart.cusum_low = a["past_high"][slot, first], a["past_low"][slot, first]
            made.chart.windows = int(a["past_t"][slot, first])
        starts = [int(a["past_start"][slot, place]) for place in places]
        for place, begin in zip(places, starts, strict=True):
            made.evidence.add(start=timestamp(begin), mean=a["past_mean"][slot, place], readings=int(a["past_n"][slot, place]))
        made.missing_windows = (starts[-1] - starts[0]) // (WINDOW_S * MICROSECONDS) + 1 - known
        return made


class Charting(Provider):
    """One `Charts` for all windows of the process."""

    def setup(self) -> None:
        """Starts empty."""
        self._charts = Charts()

    def get_dependency(self, worker_ctx: Any) -> Charts:
        """The charts."""
        return self._charts
