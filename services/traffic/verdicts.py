"""Which detectors of a part of the network fail in a window, and what is told of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import street_pb2 as pb

from citybrain.services.traffic import detector_health, standing
from citybrain.services.traffic.detector_health import Beside, Interval, Wrong
from citybrain.services.traffic.street_network import Known

Verdict = ev.DetectorFailed | ev.DetectorRecovered
Judged = tuple[bool, Wrong | None, bool]
"""Whether a detector fails, what is wrong in this window, and whether it failed before."""


def judge(
    verdicts: Mapping[str, tuple[Verdict, ...]],
    known: Known,
    before: Sequence[ev.StreetMeasured],
    measured: ev.StreetMeasured,
) -> dict[str, Judged]:
    """Each detector of the part."""
    names, start = known.of_part(measured.part_id), standing.begins(measured)
    newest = [*before[-detector_health.REFERENCE - 1 :], measured]
    said = _said(names, newest)
    was = {name: isinstance(standing.before(verdicts, name, start), ev.DetectorFailed) for name in names}
    whole = {
        name: detector_health.whole(said[name], len(known.detectors[name].lanes), known.detectors[name].interval_s)
        for name in names
    }
    found = {}
    for name in names:
        one = known.detectors[name]
        near = [one.edge_id, *known.beside.get(one.edge_id, ())]
        others = [
            other
            for edge_id in near
            for other in known.on.get(edge_id, ())
            if other in said and other != name and not was[other]
        ]
        wrong: list[Wrong | None] = [None, None]
        for back in (1, 0) if before else (0,):
            until = len(newest) - back
            beside = [Beside(whole[other][:until], known.detectors[other].edge_id == one.edge_id) for other in others]
            wrong[1 - back] = detector_health.wrong(said[name][:until], beside, len(one.lanes), one.interval_s)
        found[name] = detector_health.fails(was[name], wrong[0], wrong[1]), wrong[1], was[name]
    return found


def failing(known: Known, name: str, held: Verdict | None) -> pb.FailedDetector | None:
    """A detector that fails by what was told of it last; None: it does not, or is in use no more."""
    if not isinstance(held, ev.DetectorFailed) or name not in known.detectors:
        return None
    told = pb.FailedDetector(detector_id=name, edge_id=held.edge_id, district_id=held.district_id, reason=held.reason)
    told.since.CopyFrom(getattr(held, "from"))
    return told


def _said(names: Sequence[str], windows: Sequence[ev.StreetMeasured]) -> dict[str, list[list[Interval]]]:
    """What detectors have reported, window by window."""
    by_window = [{one.detector_id: one for one in window.detectors} for window in windows]
    return {
        name: [[interval(each) for each in one[name].intervals] if name in one else [] for one in by_window] for name in names
    }


def interval(one: pb.MeasuredInterval) -> Interval:
    """An interval as it was kept."""
    return Interval(one.vehicles, one.occupancy, one.speed_mps if one.HasField("speed_mps") else None)


def verdict(
    known: Known, name: str, *, was: bool, fails: bool, now: Wrong | None, before: Sequence[ev.StreetMeasured],
    measured: ev.StreetMeasured,
) -> Verdict | None:  # fmt: skip
    """What is told of a detector in a window, where it fails now and did not before, or the other way round."""
    if was == fails:
        return None
    one = known.detectors[name]
    whose = {"detector_id": name, "edge_id": one.edge_id, "district_id": known.roads[one.edge_id].district_id}
    window = {"from": getattr(measured, "from"), "to": measured.to}
    if now is None:
        return ev.DetectorRecovered(**whose, **window)  # type: ignore[arg-type]
    looked_at = {Wrong.STUCK: detector_health.STUCK, Wrong.JUMP: detector_health.REFERENCE + 1}.get(
        now, detector_health.IN_A_ROW
    )
    newest = [*before, measured][-looked_at:]
    evidence = []
    for each in newest:
        reported = next((found for found in each.detectors if found.detector_id == name), None)
        evidence.append(reported or pb.DetectorWindow(detector_id=name, **{"from": getattr(each, "from")}))
    return ev.DetectorFailed(
        **whose, **window, reason=pb.FailureReason.Name(now), evidence=evidence, version=detector_health.VERSION  # type: ignore[arg-type]
    )  # fmt: skip
