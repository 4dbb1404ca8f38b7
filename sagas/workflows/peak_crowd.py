"""S3, the peak of a crowd 高峰客流管控: what departments do before people come, while they are too many, and afterwards.

It begins when tourism expects a peak, a day or an hour ahead, or when a level is reached that nobody has seen coming. A day
ahead a person decides whether departments prepare. Near it police, an ambulance, buses, metro and signals are asked for. While
people are there, what is done follows the newest count alone: at 80 % others are suggested, at 90 % booking and parking stop,
at 100 % nobody is let in, and each is lifted when its level is left, the last one first. Where people touch they are led apart;
where that is dangerous joint command is called. When it is over all is given back in reverse, and the forecast is reviewed.

Nobody waits for anybody, and nothing that fails stops the rest while people are there. Numbers are proposals of this project:
docs/peak-crowd.md says them all. It is long because the workflow and its words are read together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1.events_pb2 import NoticeEscalated
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.safety.v1 import safety_service_pb2 as safety
from citybrain.tourism.v1 import peaks_pb2 as peaks
from citybrain.tourism.v1 import tourism_service_pb2 as tourism
from citybrain.tourism.v1.events_pb2 import MeasureAcknowledged, PeakBegan, PeakChanged, PeakEnded, PeakRetracted
from citybrain.traffic.v1 import transport_pb2 as transport
from citybrain.traffic.v1.events_pb2 import TransportAnswered
from citybrain.urban.v1 import parking_pb2 as parking
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from citybrain.sagas.engine.definition import (
    Choice,
    Command,
    Condition,
    During,
    Human,
    Leave,
    Node,
    Parallel,
    Reaction,
    Repeat,
    Step,
    Wait,
    Workflow,
)
from citybrain.sagas.engine.state import SagaState

TOURISM = "citybrain.tourism.v1.TourismService"
SAFETY = "citybrain.safety.v1.SafetyService"
HEALTH = "citybrain.health.v1.HealthService"
TRAFFIC = "citybrain.traffic.v1.TrafficService"
URBAN = "citybrain.urban.v1.UrbanService"
HUB = "citybrain.district_hub.v1.DistrictHubService"

# Who decides: scopes sagas.decide.crowd_command and so on.
CROWD_COMMAND, LEADING_GROUP, TRAFFIC_COMMAND = "crowd_command", "leading_group", "traffic_command"
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400

HOUR_AHEAD = 1
"""A forecast so many hours ahead, or fewer, says that it is time to prepare."""
ACKNOWLEDGED_WITHIN_S = 2 * MINUTE_S
"""So soon somebody at the place says that nobody is let in any more, or that people are led apart. Then command telephones."""
DISTRICT_S = 2 * MINUTE_S
"""So soon a district acknowledges what it is told; a day ahead it has an hour."""
LONGEST_S = 7 * DAY_S
"""After so long without a word a person is asked whether it goes on."""
OPERATOR_MINUTES = 20
"""So soon those who run metro, buses and signals answer. Then the command of traffic telephones."""
CARS, PEOPLE_A_CAR, MOST_CARS = 2, 5000, 10
"""Police cars at least, one more for each so many people that the place holds, and at most."""

_LONGEST_BYTES = 500
_CONTACT, _DANGEROUS = tourism.DENSITY_LEVEL_CONTACT, tourism.DENSITY_LEVEL_DANGEROUS


# -- whose events they are ----------------------------------------------------------------------------------------------------


def _peak(event: Message) -> str:
    return str(event.peak_id)  # type: ignore[attr-defined]


def _of_measure(event: Message) -> str:
    """The measure has the key of the step that ordered it, which begins with the id of the saga."""
    return str(event.measure_id).partition("/")[0]  # type: ignore[attr-defined]


def _of_request(event: Message) -> str:
    return str(event.request_id).partition("/")[0]  # type: ignore[attr-defined]


def _escalated(event: Message) -> str:
    """Of alerts, not of the ways of vehicles."""
    return str(event.incident_id) if event.alert else ""  # type: ignore[attr-defined]


# -- how it stands ------------------------------------------------------------------------------------------------------------


def _now(s: SagaState) -> Any:
    """How it stands by the newest word. What is older, or comes twice, changes nothing."""
    told: list[Any] = [event for event in s.heard.values() if isinstance(event, PeakChanged)]
    return max(told, key=lambda event: event.number, default=s.input)


def _is_over(s: SagaState) -> bool:
    return any(isinstance(event, PeakEnded) for event in s.heard.values())


def _is_newest(s: SagaState, event: Message) -> bool:
    """Whether it is the word by which all stands. Of those before it nothing follows any more."""
    if _is_over(s):
        return isinstance(event, PeakEnded)
    now = _now(s)
    return isinstance(event, PeakChanged) and isinstance(now, PeakChanged) and event.number == now.number


def _closest(s: SagaState) -> int:
    """How closely people stand where they do so most closely; 0: it is over."""
    return 0 if _is_over(s) else int(_now(s).closest)


def _stage(s: SagaState) -> int:
    """1: others are suggested. 2: booking and parking stop. 3: nobody is let in. 0: none of these, or it is over."""
    if _is_over(s):
        return 0
    now = _now(s)
    if now.level >= 100 or now.closest >= _DANGEROUS:
        return 3
    return 2 if now.level >= 90 else 1 if now.level >= 80 else 0


def _is_there(s: SagaState) -> bool:
    return _stage(s) > 0 or _closest(s) >= _CONTACT


def _expected(s: SagaState) -> Any:
    """The newest forecast that stands; None: none does."""
    now = _now(s)
    if isinstance(now, PeakBegan):
        return now.expected if now.HasField("expected") else None
    return now.expected[0] if now.expected else None


def _is_near(s: SagaState) -> bool:
    """Whether it is time to prepare: people are there, or an hour ahead a peak is expected."""
    expected = _expected(s)
    return _is_there(s) or (expected is not None and expected.horizon_hours <= HOUR_AHEAD)


def _was_dangerous(s: SagaState) -> bool:
    """Whether people stood dangerously close in this peak, also where that was corrected later: then somebody looks."""
    told = [s.input, *(event for event in s.heard.values() if isinstance(event, PeakChanged))]
    return any(event.closest >= _DANGEROUS for event in told)


def _touching(s: SagaState) -> Any:
    """The word by which people are led apart in this round; that with which it began where nobody waited."""
    return s.answer("people_touch") if s.answered("people_touch") else s.input


def _in_danger(s: SagaState) -> Any:
    """The word by which joint command is called."""
    return s.answer("dangerous") if s.answered("dangerous") else s.input


def _begins_so(s: SagaState) -> bool:
    """Whether nothing was told since it began."""
    return _now(s) is s.input


# -- words --------------------------------------------------------------------------------------------------------------------


def _cut(text: str, most: int = _LONGEST_BYTES) -> str:
    """As long as contracts take it."""
    return text.encode()[:most].decode(errors="ignore")


def _what(s: SagaState) -> str:
    """For questions, as it stands now: `断桥: 1,020 of 1,000 people`."""
    now, expected = _now(s), _expected(s)
    if not _is_there(s) and expected is not None:
        return _cut(f"{s.input.name}: {expected.people:,.0f} expected of {s.input.capacity:,} people", 300)
    return _cut(f"{s.input.name}: {now.people:,} of {s.input.capacity:,} people", 300)


def _why(s: SagaState) -> str:
    """For requests, as it began. A request is the same each time it is sent, so it never says how it stands now."""
    if s.input.HasField("expected"):
        return _cut(f"{s.input.name}: {s.input.expected.people:,.0f} expected of {s.input.capacity:,} people", 300)
    return _cut(f"{s.input.name}: {s.input.people:,} of {s.input.capacity:,} people, and nobody has seen it coming", 300)


def _public(s: SagaState, what: str) -> str:
    """Everybody may read it: how many people there are is not in it."""
    return _cut(f"{s.input.name}: {what}")


_STAGES = {0: "a peak is expected 预计客流高峰", 1: "80 % 较满", 2: "90 % 接近饱和", 3: "full 已满，停止入园"}
_SEVERITIES = {
    0: hub.ALERT_SEVERITY_MINOR, 1: hub.ALERT_SEVERITY_MINOR, 2: hub.ALERT_SEVERITY_MODERATE, 3: hub.ALERT_SEVERITY_SEVERE,
}  # fmt: skip


def _alert(s: SagaState, key: str, stage: int, within_s: int = DISTRICT_S) -> Message:
    expected = stage == 0
    return hub.AlertDistrictsRequest(
        incident_id=s.saga_id, round_id=key, district_ids=[s.input.district_id], acknowledge_within=Duration(seconds=within_s),
        content=hub.AlertContent(
            status=hub.ALERT_STATUS_EXERCISE if s.exercise else hub.ALERT_STATUS_ACTUAL,
            category=hub.ALERT_CATEGORY_SAFETY,
            event="Crowd 高峰客流",
            urgency=hub.ALERT_URGENCY_FUTURE if expected else hub.ALERT_URGENCY_IMMEDIATE,
            severity=_SEVERITIES[stage],
            certainty=hub.ALERT_CERTAINTY_LIKELY if expected else hub.ALERT_CERTAINTY_OBSERVED,
            headline=_cut(f"{s.input.name}: {_STAGES[stage]}", 480),
            description=_why(s),
        ),
    )  # fmt: skip


_WITHDRAW = Command(
    f"{HUB}/WithdrawNotices",
    lambda s, k: hub.WithdrawNoticesRequest(incident_id=s.saga_id, round_id=k, reason=_cut(s.reason)),
)


def _tell(name: str, stage: int, within_s: int = DISTRICT_S) -> Step:
    """The district is told how far it is. A later word replaces those before."""
    return Step(
        name,
        Command(f"{HUB}/AlertDistricts", lambda s, k: _alert(s, k, stage, within_s)),
        undo=_WITHDRAW,
        deadline_s=2 * MINUTE_S,
        otherwise="go on",
    )


# -- a day ahead --------------------------------------------------------------------------------------------------------------

TELL_AHEAD = _tell("tell_ahead", 0, HOUR_S)


def _is_it_planned(s: SagaState) -> str:
    expected = _expected(s)
    between = f", between {expected.low:,.0f} and {expected.high:,.0f}" if expected is not None else ""
    return _cut(f"{_what(s)}{between}: do departments prepare?")


PLAN = Human(
    "plan",
    (CROWD_COMMAND, LEADING_GROUP),
    _is_it_planned,
    deadline_s=6 * HOUR_S,
    options=("prepare", "only_watch"),
    # What nobody forbids is done: police that were not needed cost less than a crowd without any.
    unanswered="prepare",
)
NEAR = Wait(
    "near",
    (PeakChanged, PeakEnded),
    3 * DAY_S,
    lambda s, event: _is_newest(s, event) and (_is_near(s) or _is_over(s)),
    otherwise="go on",
    implied=True,
)
# It is asked no longer than until it is near; what is done then waits for no decision.
_PLANNED = During(
    "a_day_ahead",
    (PLAN,),
    {
        PeakChanged: Reaction(Leave(), lambda s, event: "it is near" if _is_near(s) else ""),
        PeakEnded: Reaction(Leave(), lambda s, event: "it is over"),
    },
)


def _only_watches(s: SagaState) -> bool:
    decided = s.answered("plan") and s.decision("plan") == "only_watch"
    return decided and not _is_there(s) and not _is_over(s)


# -- police, an ambulance, buses, metro, signals ------------------------------------------------------------------------------


def _cars(s: SagaState) -> int:
    return min(MOST_CARS, CARS + int(s.input.capacity) // PEOPLE_A_CAR)


POST_POLICE = Step(
    "post_police",
    Command(
        f"{SAFETY}/PostUnits",
        lambda s, k: safety.PostUnitsRequest(
            post_id=k, occasion_id=s.saga_id, police_cars=_cars(s), place=s.input.entrance, district_id=s.input.district_id,
            or_fewer=True,
        ),
    ),
    undo=Command(
        f"{SAFETY}/RecallUnits",
        lambda s, k: safety.RecallUnitsRequest(post_id=k, occasion_id=s.saga_id, reason=_cut(s.reason)),
    ),
    deadline_s=15 * MINUTE_S,
    pause_s=5,
    otherwise="go on",
)  # fmt: skip
RESERVE_AMBULANCE = Step(
    "reserve_ambulance",
    Command(
        f"{HEALTH}/ReserveAmbulance",
        lambda s, k: health.ReserveAmbulanceRequest(incident_id=s.saga_id, reservation_id=k, place=s.input.entrance),
    ),
    undo=Command(
        f"{HEALTH}/ReleaseAmbulance",
        lambda s, k: health.ReleaseAmbulanceRequest(incident_id=s.saga_id, reservation_id=k, reason=_cut(s.reason)),
    ),
    deadline_s=15 * MINUTE_S,
    pause_s=5,
    otherwise="go on",
)


def _asked(step: str, kind: transport.TransportKind) -> Step:
    """Those who run metro, buses or signals are asked; a person answers."""
    return Step(
        step,
        Command(
            f"{TRAFFIC}/RequestTransport",
            lambda s, k: transport.RequestTransportRequest(
                request_id=k, kind=kind, occasion_id=s.saga_id, district_id=s.input.district_id, where=_cut(s.input.name, 200),
                place=s.input.entrance if s.input.HasField("entrance") else None, reason=_why(s),
                answer_minutes=OPERATOR_MINUTES,
            ),
        ),
        undo=Command(
            f"{TRAFFIC}/WithdrawTransport",
            lambda s, k: transport.WithdrawTransportRequest(request_id=k, reason=_cut(s.reason)),
        ),
        deadline_s=5 * MINUTE_S,
        otherwise="go on",
    )  # fmt: skip


def _answered_by_operator(step: str, what: str) -> tuple[Node, ...]:
    """Until the answer is there, or it is over; after that the command of traffic telephones."""
    name = step.removeprefix("request_")
    answer = Wait(
        f"{name}_answered",
        (TransportAnswered, PeakEnded),
        OPERATOR_MINUTES * MINUTE_S,
        lambda s, event: isinstance(event, PeakEnded) or event.request_id == s.key(step),  # type: ignore[attr-defined]
        otherwise="go on",
        implied=True,
    )
    call = Human(
        f"call_for_{name}",
        (TRAFFIC_COMMAND, CROWD_COMMAND),
        lambda s: _cut(f"{_what(s)}: nobody has answered whether {what}. Telephone"),
        deadline_s=10 * MINUTE_S,
        options=("it_is_done", "it_is_not"),
        unanswered="it_is_not",
    )
    return (answer, Choice(f"no_answer_for_{name}", ((lambda s: not s.answered(f"{name}_answered"), (call,)),)))


REQUEST_BUSES = _asked("request_buses", transport.TRANSPORT_KIND_BUSES)
REQUEST_FREQUENCY = _asked("request_frequency", transport.TRANSPORT_KIND_FREQUENCY)
REQUEST_SIGNAL_PLAN = _asked("request_signal_plan", transport.TRANSPORT_KIND_SIGNAL_PLAN)
_PREPARED = Parallel(
    (
        (
            Choice(
                "entrance_is_known",
                ((lambda s: s.input.HasField("entrance"), (Parallel(((POST_POLICE,), (RESERVE_AMBULANCE,))),)),),
            ),
        ),
        (REQUEST_BUSES, *_answered_by_operator("request_buses", "buses stand ready")),
        (REQUEST_FREQUENCY, *_answered_by_operator("request_frequency", "metro and buses run more often")),
        (REQUEST_SIGNAL_PLAN, *_answered_by_operator("request_signal_plan", "the signals around run a plan for it")),
    )
)

# -- 80, 90 and 100 % ---------------------------------------------------------------------------------------------------------


def _measure(name: str, kind: peaks.MeasureKind, what: str, *, deadline_s: float, clearance: str = "") -> Step:
    """A measure at the place, until it is lifted."""
    return Step(
        name,
        Command(
            f"{TOURISM}/OrderMeasure",
            lambda s, k: peaks.OrderMeasureRequest(
                place_id=s.input.place_id, measure_id=k, kind=kind, reason=_public(s, what),
                part_id=_touching(s).part_id if kind == peaks.MEASURE_KIND_DISPERSE else "",
            ),
        ),
        undo=Command(
            f"{TOURISM}/LiftMeasure",
            lambda s, k: peaks.LiftMeasureRequest(place_id=s.input.place_id, measure_id=k, reason=_cut(s.reason)),
        ),
        deadline_s=deadline_s,
        otherwise="go on",
        clearance=clearance,
    )  # fmt: skip


def _lifted(name: str, step: str, why: str) -> Step:
    """The measure of a step is over. It is also barred where nobody knows whether it ever came."""
    return Step(
        name,
        Command(
            f"{TOURISM}/LiftMeasure",
            lambda s, k: peaks.LiftMeasureRequest(place_id=s.input.place_id, measure_id=s.key(step), reason=why),
        ),
        deadline_s=15 * MINUTE_S,
        otherwise="go on",
    )


def _or_by_hand(step: Step) -> tuple[Node, ...]:
    """A step that lifts something; where that cannot be done a person is asked to, while all else goes on."""
    by_hand = Human(
        f"{step.name}_by_hand",
        (CROWD_COMMAND, LEADING_GROUP),
        lambda s: _cut(f"{s.input.name}: {step.name} could not be done: {s.steps[step.name].reason}. Do it by hand"),
        deadline_s=HOUR_S,
        options=("it_is_done", "it_is_not"),
        unanswered="it_is_not",
    )
    return (step, Choice(f"{step.name}_failed", ((lambda s: not s.answered(step.name), (by_hand,)),)))


def _acknowledged(step: str, what: str) -> tuple[Node, ...]:
    """Until somebody at the place says that it is carried out; after that command telephones."""
    name = "entry" if step == "stop_entry" else step
    seen = Wait(
        f"{name}_seen",
        (MeasureAcknowledged, PeakEnded),
        ACKNOWLEDGED_WITHIN_S,
        lambda s, event: isinstance(event, PeakEnded) or event.measure_id == s.key(step),  # type: ignore[attr-defined]
        otherwise="go on",
        implied=True,
    )
    call = Human(
        f"call_about_{name}",
        (CROWD_COMMAND, LEADING_GROUP),
        lambda s: _cut(f"{_what(s)}: nobody at the place has said that {what}. Telephone"),
        deadline_s=5 * MINUTE_S,
        options=("it_is_done", "it_is_not"),
        unanswered="it_is_not",
    )
    return (seen, Choice(f"{name}_unseen", ((lambda s: not s.answered(f"{name}_seen"), (call,)),)))


def _until(name: str, so: Condition) -> Wait:
    """Until something is so by the newest word."""
    return Wait(name, (PeakChanged, PeakEnded), LONGEST_S, lambda s, event: _is_newest(s, event) and so(s), implied=True)


SUGGEST_ELSEWHERE = _measure(
    "suggest_elsewhere", peaks.MEASURE_KIND_SUGGEST_ELSEWHERE, "it is filling up, look elsewhere 客流较多，建议错峰",
    deadline_s=5 * MINUTE_S,
)  # fmt: skip
PAUSE_BOOKING = _measure("pause_booking", peaks.MEASURE_KIND_PAUSE_BOOKING, "booking pauses 暂停预约", deadline_s=5 * MINUTE_S)
STOP_ENTRY = _measure(
    "stop_entry", peaks.MEASURE_KIND_STOP_ENTRY, "it is full, nobody is let in 已满，停止入园", deadline_s=5 * MINUTE_S,
    clearance=CROWD_COMMAND,
)  # fmt: skip
CLOSE_PARKING = Step(
    "close_parking",
    Command(
        f"{URBAN}/CloseParkingEntry",
        lambda s, k: parking.CloseParkingEntryRequest(
            closure_id=k, lot_ids=dict.fromkeys(s.input.parking_lot_ids), reason=_public(s, "no car is let in 停车场暂停入场")
        ),
    ),
    undo=Command(
        f"{URBAN}/OpenParkingEntry",
        lambda s, k: parking.OpenParkingEntryRequest(
            closure_id=k, lot_ids=dict.fromkeys(s.input.parking_lot_ids), reason=_cut(s.reason)
        ),
    ),
    deadline_s=5 * MINUTE_S,
    otherwise="go on",
)
OPEN_PARKING = Step(
    "open_parking",
    Command(
        f"{URBAN}/OpenParkingEntry",
        lambda s, k: parking.OpenParkingEntryRequest(
            closure_id=s.key("close_parking"), lot_ids=dict.fromkeys(s.input.parking_lot_ids), reason="there is room again"
        ),
    ),
    deadline_s=15 * MINUTE_S,
    otherwise="go on",
)
REOPEN_ENTRY = _lifted("reopen_entry", "stop_entry", "there is room again 恢复入园")
RESUME_BOOKING = _lifted("resume_booking", "pause_booking", "there is room again 恢复预约")
END_SUGGESTION = _lifted("end_suggestion", "suggest_elsewhere", "there is room again 客流恢复正常")

# Where people stood dangerously close nobody is let in again before a person has looked, however few are counted.
CLEAR_ENTRY = Human(
    "clear_entry",
    (CROWD_COMMAND, LEADING_GROUP),
    lambda s: _cut(f"{_what(s)}: people stood dangerously close. Is nobody in danger any more, may others be let in?"),
    deadline_s=DAY_S / 2,
    options=("clear", "keep_closed"),
)
_CLEARED = Repeat(
    "until_clear",
    (
        Choice("is_full", ((lambda s: _stage(s) >= 3, (_until("left_full", lambda s: _stage(s) < 3),)),)),
        Choice("was_dangerous", ((_was_dangerous, (CLEAR_ENTRY,)),)),
    ),
    until=lambda s: _stage(s) < 3 and not (s.answered("clear_entry") and s.decision("clear_entry") == "keep_closed"),
    at_most=100,
)
_AT_100 = Repeat(
    "at_100",
    (
        Choice("below_100", ((lambda s: _stage(s) == 2, (_until("another_than_90", lambda s: _stage(s) != 2),)),)),
        Choice(
            "full",
            (
                (
                    lambda s: _stage(s) >= 3,
                    (
                        STOP_ENTRY,
                        Parallel(
                            (
                                (_tell("tell_full", 3),),
                                _acknowledged("stop_entry", "nobody is let in any more"),
                                (_CLEARED,),
                            )
                        ),
                        *_or_by_hand(REOPEN_ENTRY),
                    ),
                ),
            ),
        ),
    ),
    until=lambda s: _stage(s) < 2,
    at_most=100,
)
_AT_90 = Repeat(
    "at_90",
    (
        Choice("below_90", ((lambda s: _stage(s) == 1, (_until("another_than_80", lambda s: _stage(s) != 1),)),)),
        Choice(
            "nearly_full",
            (
                (
                    lambda s: _stage(s) >= 2,
                    (
                        Parallel(
                            (
                                (PAUSE_BOOKING,),
                                (Choice("has_parking", ((lambda s: bool(s.input.parking_lot_ids), (CLOSE_PARKING,)),)),),
                                (Choice("not_full_yet", ((lambda s: _stage(s) == 2, (_tell("tell_90", 2),)),)),),
                                (_AT_100,),
                            )
                        ),
                        Choice("parking_closed", ((lambda s: bool(s.input.parking_lot_ids), _or_by_hand(OPEN_PARKING)),)),
                        *_or_by_hand(RESUME_BOOKING),
                    ),
                ),
            ),
        ),
    ),
    until=lambda s: _stage(s) < 1,
    at_most=100,
)
_AT_80 = Repeat(
    "at_80",
    (
        Choice(
            "below_80",
            (
                (
                    lambda s: _stage(s) < 1 and not _is_over(s),
                    (_until("reaches_80", lambda s: _stage(s) >= 1 or _is_over(s)),),
                ),
            ),
        ),
        Choice(
            "busy",
            (
                (
                    lambda s: _stage(s) >= 1,
                    (
                        Parallel(
                            (
                                (SUGGEST_ELSEWHERE,),
                                (Choice("only_busy", ((lambda s: _stage(s) == 1, (_tell("tell_80", 1),)),)),),
                                (_AT_90,),
                            )
                        ),
                        *_or_by_hand(END_SUGGESTION),
                    ),
                ),
            ),
        ),
    ),
    until=_is_over,
    at_most=200,
)

# -- people touch -------------------------------------------------------------------------------------------------------------

DISPERSE = _measure("disperse", peaks.MEASURE_KIND_DISPERSE, "people are led apart 疏导人群", deadline_s=5 * MINUTE_S)
END_DISPERSAL = _lifted("end_dispersal", "disperse", "people do not touch any more 人群已疏散")


def _are_apart(s: SagaState) -> bool:
    return _closest(s) < _CONTACT or _now(s).part_id != _touching(s).part_id


_APART = Repeat(
    "led_apart",
    (
        # A word that was heard before ends this wait at once.
        Choice(
            "nobody_touches",
            (
                (
                    lambda s: not _is_over(s) and not (_begins_so(s) and _closest(s) >= _CONTACT),
                    (_until("people_touch", lambda s: _closest(s) >= _CONTACT or _is_over(s)),),
                ),
            ),
        ),
        Choice(
            "touch",
            (
                (
                    lambda s: _closest(s) >= _CONTACT,
                    (
                        DISPERSE,
                        Parallel(
                            (
                                _acknowledged("disperse", "people are led apart"),
                                # Where people stand most closely in another part now, they are led apart there.
                                (_until("apart_again", _are_apart),),
                            )
                        ),
                        *_or_by_hand(END_DISPERSAL),
                    ),
                ),
            ),
        ),
    ),
    until=_is_over,
    at_most=200,
)


# -- joint command ------------------------------------------------------------------------------------------------------------


def _report_crowd(s: SagaState, key: str) -> Message:
    position = safety.Position(longitude=s.input.position.longitude, latitude=s.input.position.latitude)
    return safety.ReportSignalRequest(
        source=safety.SIGNAL_SOURCE_SENSOR, kind=safety.EVENT_KIND_CROWD, position=position,
        place=s.input.entrance if s.input.HasField("entrance") else None, district_id=s.input.district_id,
        text=_cut(f"{s.input.name}: people stand dangerously close in {_in_danger(s).part_id}"),
    )  # fmt: skip


# What was reported is not taken back: whoever commands ends joint command, and knows why.
REPORT_CROWD = Step(
    "report_crowd", Command(f"{SAFETY}/ReportSignal", _report_crowd), deadline_s=10 * MINUTE_S, otherwise="go on"
)
CALL_JOINT_COMMAND = Step(
    "call_joint_command",
    Command(
        f"{SAFETY}/CallJointCommand",
        lambda s, k: safety.CallJointCommandRequest(
            incident_id=s.answer("report_crowd").incident.incident_id,
            reason=_cut(f"{s.input.name}: people stand dangerously close"),
            place=s.input.entrance if s.input.HasField("entrance") else None,
        ),
    ),
    deadline_s=10 * MINUTE_S,
    otherwise="go on",
)
CALL_BY_HAND = Human(
    "call_by_hand",
    (CROWD_COMMAND, LEADING_GROUP),
    lambda s: _cut(f"{_what(s)}: people stand dangerously close, and joint command could not be called. Call it by telephone"),
    deadline_s=5 * MINUTE_S,
    options=("it_is_called", "it_is_not_needed"),
    otherwise="go on",
)
_JOINT = (
    Choice(
        "not_dangerous",
        (
            (
                lambda s: not _is_over(s) and not (_begins_so(s) and _closest(s) >= _DANGEROUS),
                (_until("dangerous", lambda s: _closest(s) >= _DANGEROUS or _is_over(s)),),
            ),
        ),
    ),
    Choice(
        "in_danger",
        (
            (
                lambda s: _closest(s) >= _DANGEROUS,
                (
                    REPORT_CROWD,
                    Choice("reported", ((lambda s: s.answered("report_crowd"), (CALL_JOINT_COMMAND,)),)),
                    Choice("not_called", ((lambda s: not s.answered("call_joint_command"), (CALL_BY_HAND,)),)),
                ),
            ),
        ),
    ),
)

# -- when it is over ----------------------------------------------------------------------------------------------------------

_OVER = "the peak is over 高峰已过"


def _withdrawn(name: str, step: str) -> Step:
    return Step(
        name,
        Command(
            f"{TRAFFIC}/WithdrawTransport",
            lambda s, k: transport.WithdrawTransportRequest(request_id=s.key(step), reason=_OVER),
        ),
        deadline_s=15 * MINUTE_S,
        otherwise="needs human",
    )


END_SIGNAL_PLAN = _withdrawn("end_signal_plan", "request_signal_plan")
END_FREQUENCY = _withdrawn("end_frequency", "request_frequency")
RELEASE_BUSES = _withdrawn("release_buses", "request_buses")
RELEASE_AMBULANCE = Step(
    "release_ambulance",
    Command(
        f"{HEALTH}/ReleaseAmbulance",
        lambda s, k: health.ReleaseAmbulanceRequest(
            incident_id=s.saga_id, reservation_id=s.key("reserve_ambulance"), reason=_OVER
        ),
    ),
    deadline_s=15 * MINUTE_S,
    otherwise="needs human",
)
RECALL_POLICE = Step(
    "recall_police",
    Command(
        f"{SAFETY}/RecallUnits",
        lambda s, k: safety.RecallUnitsRequest(post_id=s.key("post_police"), occasion_id=s.saga_id, reason=_OVER),
    ),
    deadline_s=15 * MINUTE_S,
    otherwise="needs human",
)
END_NOTICES = Step(
    "end_notices",
    # Of all rounds.
    Command(f"{HUB}/WithdrawNotices", lambda s, k: hub.WithdrawNoticesRequest(incident_id=s.saga_id, reason=_OVER)),
    deadline_s=15 * MINUTE_S,
    otherwise="needs human",
)


def _flags(s: SagaState) -> Iterator[str]:
    """What did not go as it should, a sentence each."""
    for one in s.attempts():
        if one.status == "skipped" and one.kind != "wait":
            yield f"{one.name} was left out: {one.reason}"
        if one.kind == "question" and one.name.startswith("call_"):
            yield f"{one.name}: nobody had answered in time, and people had to telephone"
    if not s.input.HasField("entrance"):
        yield "nobody has said where emergency vehicles come in: no police and no ambulance were asked for"
    for step in (REQUEST_BUSES, REQUEST_FREQUENCY, REQUEST_SIGNAL_PLAN):
        answered = f"{step.name.removeprefix('request_')}_answered"
        if s.answered(answered) and isinstance(event := s.answer(answered), TransportAnswered) and not event.accepted:
            yield f"{step.name} was declined: {event.note or 'no reason was given'}"
    if s.answered("unanswered"):
        yield f"district {s.answer('unanswered').district_id} had not acknowledged in time what it was told"
    if s.answered("call_joint_command"):
        yield f"joint command was called ({s.answer('report_crowd').incident.incident_id}): whoever commands ends it"


def _review(s: SagaState, key: str) -> Message:
    return peaks.RecordPeakReviewRequest(
        place_id=s.input.place_id, peak_id=s.saga_id, flags=list(dict.fromkeys(map(_cut, _flags(s))))[:200]
    )


REVIEW = Step("review", Command(f"{TOURISM}/RecordPeakReview", _review), deadline_s=15 * MINUTE_S, otherwise="needs human")


# The first district that did not answer, whenever that was heard.
UNANSWERED = Wait("unanswered", NoticeEscalated, 1, otherwise="go on")


def _if_begun(name: str, step: str, back: Step) -> Choice:
    return Choice(name, ((lambda s: step in s.steps, (back,)),))


_RESTORED = (
    _if_begun("signal_plan_asked", "request_signal_plan", END_SIGNAL_PLAN),
    _if_begun("frequency_asked", "request_frequency", END_FREQUENCY),
    _if_begun("buses_asked", "request_buses", RELEASE_BUSES),
    _if_begun("ambulance_asked", "reserve_ambulance", RELEASE_AMBULANCE),
    _if_begun("police_asked", "post_police", RECALL_POLICE),
    END_NOTICES,
    UNANSWERED,
    REVIEW,
)

PEAK_CROWD = Workflow(
    name="peak_crowd",
    version=1,
    starts_on=PeakBegan,
    hears={
        **dict.fromkeys((PeakBegan, PeakChanged, PeakEnded, PeakRetracted), _peak),
        MeasureAcknowledged: _of_measure,
        TransportAnswered: _of_request,
        NoticeEscalated: _escalated,
    },
    undo_on={PeakRetracted: lambda event: _cut(f"there is no peak: {event.reason}")},  # type: ignore[attr-defined]
    nodes=(
        Parallel(
            (
                # Who is there is seen to at once, whatever people decide about what is to come.
                (_AT_80,),
                (_APART,),
                _JOINT,
                (Choice("ahead", ((lambda s: not _is_near(s), (Parallel(((TELL_AHEAD,), (_PLANNED,))),)),)),),
                (
                    Choice("not_near_yet", ((lambda s: not _is_near(s) and not _is_over(s), (NEAR,)),)),
                    # Where people come though departments were only to watch, they act after all.
                    Choice(
                        "only_watches",
                        ((_only_watches, (_until("comes_after_all", lambda s: _is_there(s) or _is_over(s)),)),),
                    ),
                    Choice("prepares", ((lambda s: not _is_over(s), (_PREPARED,)),)),
                ),
            )
        ),
        *_RESTORED,
    ),
)
