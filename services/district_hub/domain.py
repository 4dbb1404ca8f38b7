"""Notices to districts about an incident, what districts answer, and what they send back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta, timezone

from citybrain.district_hub.v1 import district_hub_service_pb2 as pb
from citybrain.district_hub.v1 import events_pb2 as ev
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import AlreadyDifferent, NotFound, Refused
from citybrain.mesh.ids import joined

WITHIN_S = 300
"""How soon a notice must be acknowledged where whoever sends it says nothing. A choice of ours: the plan gives no time."""


ALERT_WITHIN_S = 60
"""The same for an alert. A proposal of this project."""
SENDER = "city-brain.hangzhou"
"""Who sends alerts, by the Common Alerting Protocol (CAP 1.2). Its references are made of sender, identifier and time."""
RESTRICTION = "districts and counties of Hangzhou"
"""Who alerts are for. By CAP 1.2 their scope is Restricted, which asks for this."""
EVERY_ROUND = ""
"""Stands for all rounds of an incident."""
MOST = 90
"""How many notices one append ends: it may have a hundred events."""
_HANGZHOU = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class District:
    """One district or county."""

    name: str = ""


def evolve_district(district: District, event: Message) -> District:
    """The district after an event."""
    return District(event.name) if isinstance(event, ev.DistrictRegistered) else district


def register(district: District, request: pb.RegisterDistrictRequest) -> list[Message]:
    """Registers a district. Refused where the id is known with another name."""
    if not district.name:
        return [ev.DistrictRegistered(district_id=request.district_id, name=request.name)]
    if district.name != request.name:
        raise AlreadyDifferent(f"district {request.district_id} is called {district.name}", "OTHER_NAME")
    return []


@dataclass(frozen=True, slots=True)
class Told:
    """One notice."""

    notified: ev.DistrictNotified
    acknowledged: bool = False
    withdrawn: bool = False
    reminded: bool = False
    escalated: bool = False

    @property
    def waits(self) -> bool:
        """Whether its district must still answer."""
        return not (self.acknowledged or self.withdrawn)


@dataclass(frozen=True, slots=True)
class Notices:
    """All notices of one incident, by notice id."""

    told: Mapping[str, Told] = field(default_factory=dict)
    barred: frozenset[str] = frozenset()


def evolve_notices(notices: Notices, event: Message) -> Notices:
    """The notices after an event."""
    match event:
        case ev.DistrictNotified():
            return replace(notices, told={**notices.told, event.notice_id: Told(event)})
        case ev.NoticeAcknowledged():
            return _changed(notices, event.notice_id, acknowledged=True)
        case ev.NoticeReminded():
            return _changed(notices, event.notice_id, reminded=True)
        case ev.NoticeEscalated():
            return _changed(notices, event.notice_id, escalated=True)
        case ev.NoticeWithdrawn():
            return _changed(notices, event.notice_id, withdrawn=True)
        case ev.NoticesBarred():
            return replace(notices, barred=notices.barred | {event.round_id})
    return notices


def _changed(notices: Notices, notice: str, **changes: bool) -> Notices:
    return replace(notices, told={**notices.told, notice: replace(notices.told[notice], **changes)})  # type: ignore[arg-type]


def by_district(edge_ids: Sequence[str], keeper: Mapping[str, str]) -> dict[str, list[str]]:
    """The roads of each district on a route, districts in the order in which it reaches them."""
    found: dict[str, list[str]] = {}
    for edge in edge_ids:
        district = keeper.get(edge, "")
        if district and edge not in found.setdefault(district, []):
            found[district].append(edge)
    return found


def notify(notices: Notices, request: pb.NotifyDistrictsRequest, roads: Mapping[str, Sequence[str]]) -> list[Message]:
    """Notifies every district on the route, once a round. A second route is a second round."""
    number = _round(notices, request.round_id)
    # The notices of the first round have no number in their ids.
    later = [str(number)] if number > 1 else []
    before = {told.notified.district_id for told in notices.told.values() if told.notified.round_id == request.round_id}
    return [
        ev.DistrictNotified(
            notice_id=joined(request.incident_id, district, *later), incident_id=request.incident_id,
            round_id=request.round_id, district_id=district, vehicle_id=request.vehicle_id, edge_ids=edges,
            acknowledge_within_s=request.acknowledge_within.seconds or WITHIN_S,
        )
        for district, edges in roads.items()
        if district not in before
    ]  # fmt: skip


def _round(notices: Notices, round_id: str) -> int:
    """The number of a round among those of its incident, also of one that comes now. Refused where it was withdrawn."""
    if round_id in notices.barred or EVERY_ROUND in notices.barred:
        raise Refused(f"notices {round_id} were withdrawn before they came", "NOTICES_WITHDRAWN")
    rounds = list(dict.fromkeys(told.notified.round_id for told in notices.told.values()))
    return 1 + (rounds.index(round_id) if round_id in rounds else len(rounds))


def alert(
    notices: Notices, request: pb.AlertDistrictsRequest, roads: Mapping[str, Sequence[str]], sent: Timestamp
) -> list[Message]:
    """Alerts districts, once a round. `roads`: each district with its roads. `sent`: now.

    What stands of earlier rounds is replaced: then it is an update. Refused where there is no district.
    """
    number = _round(notices, request.round_id)
    if any(told.notified.round_id == request.round_id for told in notices.told.values()):
        return []
    if not roads:
        raise Refused("no district is registered, so nobody was alerted: RegisterDistrict does that", "NO_DISTRICTS")
    standing = _alerts(told for told in notices.told.values() if not told.withdrawn)
    said = pb.Alert(
        identifier=joined(request.incident_id, str(number)), sender=SENDER, sent=sent, content=request.content,
        restriction=RESTRICTION,
        type=pb.ALERT_TYPE_UPDATE if standing else pb.ALERT_TYPE_ALERT, references=map(_reference, standing),
    )  # fmt: skip
    return [
        ev.DistrictNotified(
            notice_id=joined(request.incident_id, district, str(number)), incident_id=request.incident_id,
            round_id=request.round_id, district_id=district, edge_ids=edges, alert=said,
            acknowledge_within_s=request.acknowledge_within.seconds or ALERT_WITHIN_S,
        )
        for district, edges in roads.items()
    ]  # fmt: skip


def _alerts(told: Iterable[Told]) -> list[pb.Alert]:
    """The alerts that some notices are of, each once."""
    alerts = [one.notified.alert for one in told if one.notified.HasField("alert")]
    return list({one.identifier: one for one in alerts}.values())


def _reference(alert: pb.Alert) -> str:
    """As CAP 1.2 refers to an alert. A time has the zone of the city: `Z` is not allowed there."""
    sent = alert.sent.ToDatetime(tzinfo=UTC).astimezone(_HANGZHOU).isoformat(timespec="seconds")
    return f"{alert.sender},{alert.identifier},{sent}"


def withdraw(notices: Notices, request: pb.WithdrawNoticesRequest, sent: Timestamp) -> list[Message]:
    """Withdraws notices of a round, or of all (`EVERY_ROUND`): `MOST` of them; then it is to be asked again.

    What has not come yet is refused from now on. If they alerted, they carry the cancel of that. `sent`: now.
    """
    concerned = {
        notice: told
        for notice, told in notices.told.items()
        if request.round_id in (told.notified.round_id, EVERY_ROUND) and not told.withdrawn
    }
    cancel = None
    if cancelled := _alerts(concerned.values()):
        newest = cancelled[-1]
        cancel = pb.Alert(
            identifier=f"{newest.identifier}.cancel", sender=SENDER, sent=sent, type=pb.ALERT_TYPE_CANCEL,
            references=map(_reference, cancelled), content=newest.content, note=request.reason, restriction=RESTRICTION,
        )  # fmt: skip
    over: list[Message] = [
        ev.NoticeWithdrawn(
            notice_id=notice, incident_id=request.incident_id, district_id=told.notified.district_id, reason=request.reason,
            alert=cancel if told.notified.HasField("alert") else None,
        )
        for notice, told in list(concerned.items())[:MOST]
    ]  # fmt: skip
    if request.round_id not in notices.barred:
        over.append(ev.NoticesBarred(incident_id=request.incident_id, round_id=request.round_id, reason=request.reason))
    return over


def acknowledge(notices: Notices, request: pb.AcknowledgeNoticeRequest) -> list[Message]:
    """Records that a district has seen its notice, once. Refused for any other district.

    Whoever has seen an update needs not acknowledge what it replaces.
    """
    told = existing(notices, request.notice_id)
    if told.notified.district_id != request.district_id:
        raise Refused(f"notice {request.notice_id} is for district {told.notified.district_id}", "OTHER_DISTRICT")
    if told.acknowledged:
        return []
    replaced = [
        notice
        for notice, one in notices.told.items()
        if one.waits
        and one.notified.district_id == request.district_id
        and _reference(one.notified.alert) in told.notified.alert.references
    ]
    return [
        ev.NoticeAcknowledged(notice_id=notice, incident_id=told.notified.incident_id, district_id=request.district_id)
        for notice in (request.notice_id, *replaced[-MOST:])
    ]


def urge(notices: Notices, notice: str, *, over: bool) -> list[Message]:
    """Reminds the district of a notice that waits, or tells the city that it has not answered (`over`): each of them once."""
    told = existing(notices, notice)
    which = {"notice_id": notice, "incident_id": told.notified.incident_id, "district_id": told.notified.district_id}
    if not told.waits or told.escalated:
        return []
    if over:
        return [ev.NoticeEscalated(alert=told.notified.HasField("alert"), **which)]
    return [] if told.reminded else [ev.NoticeReminded(**which)]


@dataclass(frozen=True, slots=True)
class Batch:
    """The reports of one batch of a district; none: it has not come."""

    reports: tuple[ev.DistrictReported, ...] = ()


def evolve_batch(batch: Batch, event: Message) -> Batch:
    """The batch after an event."""
    return Batch((*batch.reports, event)) if isinstance(event, ev.DistrictReported) else batch


def keep(batch: Batch, request: pb.SendReportsRequest) -> list[Message]:
    """Keeps the reports of a batch, once. Refused where the batch is known with other reports."""
    reported = tuple(
        ev.DistrictReported(
            district_id=request.district_id, batch_id=request.batch_id, number=number, report=report,
            incident_id=request.incident_id,
        )
        for number, report in enumerate(request.reports)
    )  # fmt: skip
    if not batch.reports:
        return list(reported)
    if batch.reports != reported:
        raise AlreadyDifferent(
            f"batch {request.batch_id} of {request.district_id} is kept with other reports: give each batch a name of its own",
            "OTHER_BATCH",
        )
    return []


def existing(notices: Notices, notice: str) -> Told:
    """The notice, or NotFound."""
    if notice not in notices.told:
        raise NotFound(f"there is no notice {notice}", "NO_SUCH_NOTICE")
    return notices.told[notice]
