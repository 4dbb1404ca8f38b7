"""S4, from a source of pollution to its sanction 污染溯源到惩戒: what departments do, and what people decide.

It begins when a second sensor has confirmed that a limit is exceeded. The source is traced, an inspection is ordered and told
to the district. What is found becomes a case: measures at once, evidence that is sealed, the firm is heard, a person decides.
A sanction holds everywhere until the firm has corrected what was wrong. An appeal that is won takes all of it back.
Until the limit is not exceeded any more, lorries are led around the roads of the source.

Terms and measures are proposals of this project where no law gives them: docs/credit.md says them all. It is long because the
workflow and its words are read together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from citybrain.credit.v1 import credit_service_pb2 as credit
from citybrain.credit.v1.events_pb2 import AppealDecided, AppealFiled
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1.events_pb2 import NoticeAcknowledged, NoticeEscalated
from citybrain.environment.v1 import environment_service_pb2 as environment
from citybrain.environment.v1.events_pb2 import (
    CorrectionAccepted,
    ExceedanceEnded,
    ExceedanceRetracted,
    ExceedanceVerified,
    InspectionReported,
)
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.sagas.engine.definition import (
    Choice,
    Command,
    During,
    Human,
    Parallel,
    Reaction,
    Step,
    Undo,
    Wait,
    Workflow,
)
from citybrain.sagas.engine.state import SagaState

ENVIRONMENT = "citybrain.environment.v1.EnvironmentService"
HUB = "citybrain.district_hub.v1.DistrictHubService"
CREDIT = "citybrain.credit.v1.CreditService"
TRAFFIC = "citybrain.traffic.v1.TrafficService"

# Who decides: scopes sagas.decide.environment and so on.
BUREAU, BUREAU_HEAD, CITY_TEAM = "environment", "environment_head", "environment_city_team"
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400

NOTICE_S = 24 * HOUR_S
"""So soon a district acknowledges that it inspects. Then the team of the city is asked."""
INSPECTED_WITHIN_S = 5 * DAY_S
HEARD_WITHIN_S = 15 * DAY_S
DECIDED_WITHIN_S = 30 * DAY_S
CORRECTED_WITHIN_S = 30 * DAY_S
APPEAL_WITHIN_S = 183 * DAY_S
"""Six months, in which a firm may go to court (行政诉讼法, article 46); an appeal to the authority has 60 days of these."""
SANCTION_S = 730 * DAY_S
SERIOUS_TIMES = 2.0
"""From so many times the limit on it is serious. The bound belongs to it."""

LAWS: Mapping[int, str] = {
    environment.MEDIUM_AIR: "Law on the Prevention and Control of Atmospheric Pollution (大气污染防治法), article 99",
    environment.MEDIUM_STACK: "Law on the Prevention and Control of Atmospheric Pollution (大气污染防治法), article 99",
    environment.MEDIUM_WATER: "Law on the Prevention and Control of Water Pollution (水污染防治法), article 83",
}
_MEDIA: Mapping[int, str] = {
    environment.MEDIUM_AIR: "Air pollution 大气污染",
    environment.MEDIUM_STACK: "Air pollution 大气污染",
    environment.MEDIUM_WATER: "Water pollution 水污染",
    environment.MEDIUM_SOIL: "Soil pollution 土壤污染",
}
# Always; and besides where it is serious.
_MEASURES = (credit.SANCTION_MEASURE_NO_SUBSIDY, credit.SANCTION_MEASURE_NO_AWARD, credit.SANCTION_MEASURE_INSPECTED_MORE)
_SERIOUS_MEASURES = (credit.SANCTION_MEASURE_NO_APPROVAL, credit.SANCTION_MEASURE_NO_PROCUREMENT)
_SOURCE = "environment bureau 生态环境局"
# As the contracts have them.
_LONGEST_BYTES, _LONGEST_CORRECTION_BYTES = 500, 1000
_SECOND = 1_000_000


# -- whose events they are ----------------------------------------------------------------------------------------------------


def _exceedance(event: Message) -> str:
    return str(event.exceedance_id)  # type: ignore[attr-defined]


def _verified(event: Message) -> str:
    """One that was never verified began no saga."""
    return str(event.exceedance_id) if event.verified else ""  # type: ignore[attr-defined]


def _incident(event: Message) -> str:
    return str(event.incident_id)  # type: ignore[attr-defined]


def _of_case(event: Message) -> str:
    """The case has the key of the step that opened it, which begins with the id of the saga."""
    return str(event.case_id).partition("/")[0]  # type: ignore[attr-defined]


# -- words and numbers --------------------------------------------------------------------------------------------------------


def _cut(text: str, most: int = _LONGEST_BYTES) -> str:
    """As long as contracts take it."""
    return text.encode()[:most].decode(errors="ignore")


def _what(s: SagaState) -> str:
    """What was measured: `Air pollution 大气污染: SO2 612 at a limit of 500`."""
    quantity = environment.Quantity.Name(s.input.quantity).removeprefix("QUANTITY_")
    return f"{_MEDIA.get(s.input.medium, 'Pollution 污染')}: {quantity} {s.input.value:g} at a limit of {s.input.limit:g}"


def _law(s: SagaState) -> str:
    return LAWS.get(s.input.medium, "Environmental Protection Law (环境保护法), article 60")


def _is_serious(s: SagaState) -> bool:
    return bool(s.input.value >= SERIOUS_TIMES * s.input.limit)


def _after(moment: int, seconds: float) -> Timestamp:
    """So long after a moment (microseconds)."""
    found = Timestamp()
    found.FromMicroseconds(moment + round(seconds * _SECOND))
    return found


def _traced(s: SagaState) -> str:
    """The registered source that explains it; empty: none does, or nobody knows."""
    if not s.answered("trace"):
        return ""
    trace = s.answer("trace").trace
    if trace.determination not in (environment.DETERMINATION_WELL, environment.DETERMINATION_WEAK):
        return ""
    return next((str(one.source_id) for one in trace.sources if one.found), "")


def _place(s: SagaState) -> environment.Place:
    """Where is inspected if no registered source explains it: the traced place, or that of the station."""
    if s.answered("trace") and s.answer("trace").trace.HasField("place"):
        return s.answer("trace").trace.place  # type: ignore[no-any-return]
    return s.input.place  # type: ignore[no-any-return]


def _statement(s: SagaState) -> str:
    return str(s.answer("trace").trace.statement) if s.answered("trace") else "it could not be traced"


def _was_found(s: SagaState) -> bool:
    return s.answered("inspected") and bool(s.answer("inspected").found)


def _source(s: SagaState) -> str:
    """The source that inspectors have reported on; empty: none that is registered, or nobody has reported."""
    return str(s.answer("inspected").source_id) if s.answered("inspected") else ""


def _finding(s: SagaState) -> str:
    return str(s.answer("inspected").finding) if s.answered("inspected") else ""


def _case(s: SagaState) -> str:
    return s.key("open_case")


def _firm(s: SagaState) -> credit.SubjectRef:
    """The firm of the source, by the random id that every service has for its number."""
    return credit.SubjectRef(subject_id=s.answer("open_case").case.firm_id, kind=credit.SUBJECT_KIND_FIRM)


def _decided(s: SagaState) -> str:
    return s.decision("decide") if s.answered("decide") else ""


def _decided_at(s: SagaState) -> int:
    """When it was decided, or left to people."""
    return s.steps["decide"].changed_at


def _decided_by(s: SagaState) -> str:
    return str(s.answer("decide").by) or BUREAU


# -- what districts are told --------------------------------------------------------------------------------------------------


def _content(s: SagaState, headline: str, description: str) -> hub.AlertContent:
    return hub.AlertContent(
        status=hub.ALERT_STATUS_EXERCISE if s.exercise else hub.ALERT_STATUS_ACTUAL,
        category=hub.ALERT_CATEGORY_ENV,
        event=_MEDIA.get(s.input.medium, "Pollution 污染"),
        urgency=hub.ALERT_URGENCY_EXPECTED,
        severity=hub.ALERT_SEVERITY_SEVERE if _is_serious(s) else hub.ALERT_SEVERITY_MODERATE,
        certainty=hub.ALERT_CERTAINTY_OBSERVED,
        headline=_cut(headline, 480),
        description=_cut(description, 2000),
    )


def _district(s: SagaState) -> list[str]:
    return [s.input.district_id] if s.input.district_id else []


def _notice(s: SagaState, key: str) -> Message:
    what = f"source {_traced(s)}" if _traced(s) else "the place that was traced"
    return hub.AlertDistrictsRequest(
        incident_id=s.saga_id, round_id=key, district_ids=_district(s), acknowledge_within=Duration(seconds=NOTICE_S),
        content=_content(s, f"Inspect 现场检查: {what}", f"{_what(s)}. {_statement(s)}. {s.key('order_inspection')}"),
    )  # fmt: skip


def _advice(s: SagaState, key: str) -> Message:
    return hub.AlertDistrictsRequest(
        incident_id=s.saga_id, round_id=key, district_ids=_district(s),
        content=_content(s, f"Advice for the public 公众健康提示: {_what(s)}", "Tell those who live there until it is over."),
    )  # fmt: skip


_WITHDRAW = Command(
    f"{HUB}/WithdrawNotices",
    lambda s, k: hub.WithdrawNoticesRequest(incident_id=s.saga_id, round_id=k, reason=_cut(s.reason)),
)


def _ended(step: str, why: str) -> Command:
    """The round of a step is over."""
    return Command(
        f"{HUB}/WithdrawNotices",
        lambda s, k: hub.WithdrawNoticesRequest(incident_id=s.saga_id, round_id=s.key(step), reason=why),
    )


# -- from the reading to what inspectors find ---------------------------------------------------------------------------------

TRACE = Step(
    "trace",
    Command(f"{ENVIRONMENT}/TraceSource", lambda s, k: environment.TraceSourceRequest(exceedance_id=s.saga_id)),
    deadline_s=30 * MINUTE_S,  # what was measured around it comes some minutes later
    otherwise="go on",  # without wind nobody can tell: the place is inspected
)
ORDER_INSPECTION = Step(
    "order_inspection",
    Command(
        f"{ENVIRONMENT}/OrderInspection",
        lambda s, k: environment.OrderInspectionRequest(
            inspection_id=k, exceedance_id=s.saga_id, source_id=_traced(s), place=None if _traced(s) else _place(s),
            district_id=s.input.district_id, reason=_cut(f"{_what(s)}. {_statement(s)}"),
            due_at=_after(s.started_at, INSPECTED_WITHIN_S),
        ),
    ),
    undo=Command(
        f"{ENVIRONMENT}/WithdrawInspection",
        lambda s, k: environment.WithdrawInspectionRequest(inspection_id=k, reason=_cut(s.reason)),
    ),
    deadline_s=HOUR_S,
    otherwise="needs human",
)  # fmt: skip
TELL_DISTRICT = Step(
    "tell_district", Command(f"{HUB}/AlertDistricts", _notice), undo=_WITHDRAW, deadline_s=15 * MINUTE_S, otherwise="go on"
)
# Who has inspected has seen the notice: the report ends this wait too, and stays there for the next one.
SEEN = Wait(
    "seen", (NoticeAcknowledged, NoticeEscalated, InspectionReported), NOTICE_S + HOUR_S, otherwise="go on", implied=True
)
SEND_CITY_TEAM = Human(
    "send_city_team",
    (CITY_TEAM, BUREAU),
    lambda s: f"district {s.input.district_id} has not acknowledged inspection {s.key('order_inspection')}: does the team go?",
    deadline_s=4 * HOUR_S,
    options=("goes", "cannot"),
    unanswered="cannot",
)
INSPECTED = Wait(
    "inspected",
    InspectionReported,
    INSPECTED_WITHIN_S,
    lambda s, event: bool(event.inspection_id == s.key("order_inspection")),  # type: ignore[attr-defined]
)
END_NOTICE = Step("end_notice", _ended("tell_district", "it was inspected"), deadline_s=15 * MINUTE_S, otherwise="go on")


def _holds(s: SagaState) -> bool:
    """Whether the readings are still believed when somebody begins to act, which may be late."""
    return not any(isinstance(event, ExceedanceRetracted) for event in s.heard.values())


def _not_seen(s: SagaState) -> bool:
    return not s.answered("seen") or isinstance(s.answer("seen"), NoticeEscalated)


_INSPECTION = During(
    "looked_for",
    (
        ORDER_INSPECTION,
        TELL_DISTRICT,
        SEEN,
        Choice("nobody_has_seen_it", ((_not_seen, (SEND_CITY_TEAM,)),)),
        INSPECTED,
        END_NOTICE,
    ),
    # What inspectors find holds by itself: then a reading that is corrected calls nothing off.
    {
        ExceedanceRetracted: Reaction(
            Undo(),
            lambda s, event: _cut(f"no limit was exceeded: {event.reason}"),  # type: ignore[attr-defined]
        )
    },
)

# -- the case -----------------------------------------------------------------------------------------------------------------

CASE_BY_HAND = Human(
    "case_by_hand",
    (BUREAU, BUREAU_HEAD),
    lambda s: f"inspection {s.key('order_inspection')} names no registered source: admit it, and open its case by hand",
    deadline_s=3 * DAY_S,
    options=("opened", "none_is_needed"),
)
OPEN_CASE = Step(
    "open_case",
    Command(
        f"{ENVIRONMENT}/OpenCase",
        lambda s, k: environment.OpenCaseRequest(
            case_id=k, exceedance_id=s.saga_id, source_id=_source(s), reason=_cut(f"{_what(s)}. {_finding(s)}")
        ),
    ),
    undo=Command(f"{ENVIRONMENT}/WithdrawCase", lambda s, k: environment.WithdrawCaseRequest(case_id=k, reason=_cut(s.reason))),
    deadline_s=HOUR_S,
    otherwise="needs human",
)


def _evidence(kind: environment.EvidenceKind, body: Mapping[str, object]) -> dict[str, Any]:
    """Of a record. It names no person: outsiders read it."""
    return {"kind": kind, "body_json": json.dumps(body, ensure_ascii=False, sort_keys=True)}


def _seal_inspection(s: SagaState, key: str) -> Message:
    body = {"inspection": s.key("order_inspection"), "found": True, "finding": _cut(_finding(s), 2000), "trace": _statement(s)}
    return environment.AddEvidenceRequest(
        case_id=_case(s), record_id=key, **_evidence(environment.EVIDENCE_KIND_INSPECTION, body)
    )


def _seal_hearing(s: SagaState, key: str) -> Message:
    body = {"hearing": s.decision("hear_firm") if s.answered("hear_firm") else "left out", "law": _law(s)}
    return environment.AddEvidenceRequest(case_id=_case(s), record_id=key, **_evidence(environment.EVIDENCE_KIND_HEARING, body))


SEAL_INSPECTION = Step(
    "seal_inspection",
    Command(f"{ENVIRONMENT}/AddEvidence", _seal_inspection),
    deadline_s=HOUR_S,
    otherwise="needs human",
)
ORDER_MEASURES = Step(
    "order_measures",
    Command(
        f"{ENVIRONMENT}/OrderMeasures",
        lambda s, k: environment.OrderMeasuresRequest(
            measures_id=k, source_id=_source(s), exceedance_id=s.saga_id, reason=_cut(_finding(s) or _what(s))
        ),
    ),
    undo=Command(
        f"{ENVIRONMENT}/LiftMeasures",
        lambda s, k: environment.LiftMeasuresRequest(measures_id=k, source_id=_source(s), reason=_cut(s.reason)),
    ),
    deadline_s=HOUR_S,
    otherwise="go on",  # the line is stopped by hand
)
ADVISE_PUBLIC = Step(
    "advise_public", Command(f"{HUB}/AlertDistricts", _advice), undo=_WITHDRAW, deadline_s=15 * MINUTE_S, otherwise="go on"
)


def _roads(s: SagaState) -> list[str]:
    """The roads that lead to the source, as the register has them."""
    return list(dict.fromkeys(s.answer("look_up_roads").source.road_ids)) if s.answered("look_up_roads") else []


LOOK_UP_ROADS = Step(
    "look_up_roads",
    Command(f"{ENVIRONMENT}/GetSource", lambda s, k: environment.GetSourceRequest(source_id=_source(s))),
    deadline_s=15 * MINUTE_S,
    otherwise="go on",
)
DIVERT_LORRIES = Step(
    "divert_lorries",
    Command(
        f"{TRAFFIC}/CloseRoads",
        lambda s, k: traffic.CloseRoadsRequest(
            closure_id=k, edge_ids=_roads(s), incident_id=s.saga_id, reason=_cut(_what(s)), lorries_only=True
        ),
    ),
    undo=Command(f"{TRAFFIC}/ReopenRoads", lambda s, k: traffic.ReopenRoadsRequest(closure_id=k, reason=_cut(s.reason))),
    deadline_s=15 * MINUTE_S,
    otherwise="go on",  # the police lead them around
)
OVER = Wait("over", (ExceedanceEnded, ExceedanceRetracted), 14 * DAY_S, otherwise="go on")
END_ADVICE = Step(
    "end_advice", _ended("advise_public", "the limit is not exceeded any more"), deadline_s=15 * MINUTE_S, otherwise="go on"
)
LET_LORRIES_IN = Step(
    "let_lorries_in",
    Command(
        f"{TRAFFIC}/ReopenRoads",
        lambda s, k: traffic.ReopenRoadsRequest(
            closure_id=s.key("divert_lorries"), reason="the limit is not exceeded any more"
        ),
    ),
    deadline_s=15 * MINUTE_S,
    otherwise="needs human",
)

# -- what people decide -------------------------------------------------------------------------------------------------------


def _no_hearing(s: SagaState, option: str) -> str:
    """What was found is in the evidence before the firm is heard on it."""
    if s.answered("seal_inspection"):
        return ""
    return "the finding of the inspection is not sealed in the evidence yet: the firm is heard on what is sealed"


HEAR_FIRM = Human(
    "hear_firm",
    (BUREAU, BUREAU_HEAD),
    lambda s: f"case {_case(s)}: hear the firm (行政处罚法, articles 44, 45, 63). Was it heard, or did it waive that?",
    deadline_s=HEARD_WITHIN_S,
    options=("heard", "waived"),
    validator=_no_hearing,
)
SEAL_HEARING = Step(
    "seal_hearing", Command(f"{ENVIRONMENT}/AddEvidence", _seal_hearing), deadline_s=HOUR_S, otherwise="needs human"
)


def _no_decision(s: SagaState, option: str) -> str:
    """Nothing is decided against a firm that was not heard, nor on evidence that is not sealed."""
    if option == "dismiss":
        return ""
    if not s.answered("hear_firm"):
        return "the firm was not heard, and has not waived that: only dismiss is possible"
    if not s.answered("seal_hearing"):
        return "the hearing is not sealed in the evidence yet"
    return ""


DECIDE = Human(
    "decide",
    (BUREAU, BUREAU_HEAD),
    lambda s: _cut(f"case {_case(s)}, {_what(s)}, by {_law(s)}: sanction, warn, or dismiss?", 2000),
    deadline_s=DECIDED_WITHIN_S,
    options=("sanction", "warn", "dismiss"),
    validator=_no_decision,
)
RECORD_DECISION = Step(
    "record_decision",
    Command(
        f"{ENVIRONMENT}/RecordDecision",
        lambda s, k: environment.RecordDecisionRequest(
            case_id=_case(s),
            decision=environment.Decision(
                decision_id=k, law=_law(s), text=_cut(f"{_decided(s)}: {s.answer('decide').reason or _what(s)}", 2000),
                decided_by=[_decided_by(s)],
            ),
        ),
    ),
    undo=Command(
        f"{ENVIRONMENT}/RevokeDecision",
        lambda s, k: environment.RevokeDecisionRequest(case_id=_case(s), decision_id=k, reason=_cut(s.reason) or "undone"),
    ),
    deadline_s=HOUR_S,
    otherwise="needs human",
)  # fmt: skip
IMPOSE_SANCTION = Step(
    "impose_sanction",
    Command(
        f"{CREDIT}/ImposeSanction",
        lambda s, k: credit.ImposeSanctionRequest(
            subject=_firm(s), sanction_id=k, case_id=_case(s), law=_law(s),
            measures=(*_MEASURES, *(_SERIOUS_MEASURES if _is_serious(s) else ())),
            until=_after(_decided_at(s), SANCTION_S), decided_by=_decided_by(s), text=_cut(_finding(s)), source=_SOURCE,
            weight=credit.RECORD_WEIGHT_SERIOUS if _is_serious(s) else credit.RECORD_WEIGHT_COMMON,
        ),
    ),
    undo=Command(
        f"{CREDIT}/RevokeSanction",
        lambda s, k: credit.RevokeSanctionRequest(subject=_firm(s), sanction_id=k, reason=_cut(s.reason) or "undone"),
    ),
    deadline_s=HOUR_S,
    otherwise="needs human",
)  # fmt: skip

# -- correction, and what the firm may appeal against -------------------------------------------------------------------------


def _correction(s: SagaState) -> str:
    """What is to be put right, and what there is to say about the time for it."""
    return _cut(f"Put right what inspection {s.key('order_inspection')} has found: {_finding(s)}", _LONGEST_CORRECTION_BYTES)


ORDER_CORRECTION = Step(
    "order_correction",
    Command(
        f"{ENVIRONMENT}/OrderCorrection",
        lambda s, k: environment.OrderCorrectionRequest(
            case_id=_case(s), correction_id=k, what=_correction(s), until=_after(_decided_at(s), CORRECTED_WITHIN_S)
        ),
    ),
    undo=Command(
        f"{ENVIRONMENT}/WithdrawCorrection",
        lambda s, k: environment.WithdrawCorrectionRequest(case_id=_case(s), correction_id=k, reason=_cut(s.reason)),
    ),
    deadline_s=HOUR_S,
    otherwise="needs human",
)
CORRECTED = Wait(
    "corrected",
    CorrectionAccepted,
    CORRECTED_WITHIN_S + 7 * DAY_S,
    lambda s, event: bool(event.correction_id == s.key("order_correction") and not event.rejected),  # type: ignore[attr-defined]
)
LIFT_MEASURES = Step(
    "lift_measures",
    Command(
        f"{ENVIRONMENT}/LiftMeasures",
        lambda s, k: environment.LiftMeasuresRequest(
            measures_id=s.key("order_measures"), source_id=_source(s), reason="what was wrong is put right"
        ),
    ),
    deadline_s=HOUR_S,
    otherwise="needs human",
)
REPAIR_RECORD = Step(
    "repair_record",
    Command(
        f"{CREDIT}/RepairRecord",
        lambda s, k: credit.RepairRecordRequest(
            subject=_firm(s), record_id=s.answer("impose_sanction").sanction.record_id,
            reason=f"correction {s.key('order_correction')} was accepted",
        ),
    ),
    deadline_s=HOUR_S,
    otherwise="needs human",
)  # fmt: skip
APPEALED = Wait("appealed", AppealFiled, APPEAL_WITHIN_S, otherwise="go on")
# One that is won undoes the saga; one that is lost ends this wait.
APPEAL_DECIDED = Wait("appeal_decided", AppealDecided, 365 * DAY_S)


def _won(s: SagaState, event: Message) -> str:
    """Why all is undone; empty: the appeal was lost."""
    appeal: credit.Appeal = event.appeal  # type: ignore[attr-defined]
    return _cut(f"appeal {appeal.appeal_id} was won") if appeal.state == credit.APPEAL_STATE_WON else ""


_ENFORCED = During(
    "open_to_appeal",
    (
        RECORD_DECISION,
        Choice("is_sanctioned", ((lambda s: _decided(s) == "sanction", (IMPOSE_SANCTION,)),)),
        Parallel(
            (
                (
                    ORDER_CORRECTION,
                    CORRECTED,
                    Parallel(
                        (
                            (Choice("stood_still", ((lambda s: "order_measures" in s.steps, (LIFT_MEASURES,)),)),),
                            (Choice("has_record", ((lambda s: s.answered("impose_sanction"), (REPAIR_RECORD,)),)),),
                        )
                    ),
                ),
                (
                    Choice(
                        "can_appeal",
                        (
                            (
                                lambda s: s.answered("impose_sanction"),
                                (APPEALED, Choice("has_appealed", ((lambda s: s.answered("appealed"), (APPEAL_DECIDED,)),))),
                            ),
                        ),
                    ),
                ),
            )
        ),
    ),
    {AppealDecided: Reaction(Undo(), _won)},
)
LIFT_DISMISSED = Step(
    "lift_dismissed",
    Command(
        f"{ENVIRONMENT}/LiftMeasures",
        lambda s, k: environment.LiftMeasuresRequest(
            measures_id=s.key("order_measures"), source_id=_source(s), reason="the case was dismissed"
        ),
    ),
    deadline_s=HOUR_S,
    otherwise="needs human",
)
CLOSE_CASE = Step(
    "close_case",
    Command(
        f"{ENVIRONMENT}/CloseCase",
        lambda s, k: environment.CloseCaseRequest(case_id=_case(s), outcome=_outcome(s)),
    ),
    deadline_s=HOUR_S,
    otherwise="needs human",
)


def _outcome(s: SagaState) -> str:
    if _decided(s) not in ("sanction", "warn"):
        return "dismissed"
    put_right = "corrected" if s.answered("corrected") else "not corrected, and closed by hand"
    return f"{'sanctioned' if _decided(s) == 'sanction' else 'warned'}, {put_right}"


_WHILE_EXCEEDED = (
    Parallel(
        (
            (ADVISE_PUBLIC,),
            (LOOK_UP_ROADS, Choice("roads_are_known", ((lambda s: bool(_roads(s)), (DIVERT_LORRIES,)),))),
        )
    ),
    OVER,
    Parallel(
        (
            (END_ADVICE,),
            (Choice("lorries_were_diverted", ((lambda s: "divert_lorries" in s.steps, (LET_LORRIES_IN,)),)),),
        )
    ),
)


_CASE = (
    OPEN_CASE,
    Parallel(
        (
            _WHILE_EXCEEDED,
            (
                Parallel(((SEAL_INSPECTION,), (ORDER_MEASURES,))),
                HEAR_FIRM,
                SEAL_HEARING,
                DECIDE,
                Choice(
                    "decided",
                    ((lambda s: _decided(s) in ("sanction", "warn"), (_ENFORCED,)),),
                    (Choice("stands_still", ((lambda s: "order_measures" in s.steps, (LIFT_DISMISSED,)),)),),
                ),
            ),
        )
    ),
    CLOSE_CASE,
)

POLLUTION_SANCTION = Workflow(
    name="pollution_sanction",
    version=1,
    starts_on=ExceedanceVerified,
    hears={
        **dict.fromkeys((ExceedanceVerified, ExceedanceEnded, InspectionReported), _exceedance),
        ExceedanceRetracted: _verified,
        **dict.fromkeys((NoticeAcknowledged, NoticeEscalated), _incident),
        **dict.fromkeys((CorrectionAccepted, AppealFiled, AppealDecided), _of_case),
    },
    nodes=(
        TRACE,
        Choice(
            "still_holds",
            (
                (
                    _holds,
                    (
                        _INSPECTION,
                        Choice(
                            "what_was_found",
                            (
                                (lambda s: _was_found(s) and bool(_source(s)), _CASE),
                                (lambda s: _was_found(s) or not s.answered("inspected"), (CASE_BY_HAND,)),
                            ),
                        ),
                    ),
                ),
            ),
        ),
    ),
)
