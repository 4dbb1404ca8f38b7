"""Methods of accidents, of the risk of roads, and of what works have changed; and the days of roads, told each night."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import road_safety_pb2 as pb

from citybrain.mesh.errors import NotFound, Refused
from citybrain.mesh.kept import Kept
from citybrain.mesh.service import Heard, Streams, View, at, off_loop, rpc, subscribe
from citybrain.services.traffic import accidents, effects, road_days, road_risk, street_views, views
from citybrain.services.traffic.empirical_bayes import PUBLISHED, Model
from citybrain.services.traffic.free_speeds import prefix
from citybrain.services.traffic.incident_calls import IncidentCalls
from citybrain.services.traffic.street_calls import SCANNED
from citybrain.services.traffic.street_network import Road


class SafetyCalls(IncidentCalls):
    """Safety and works."""

    accident_records = Streams("accident", accidents.Recorded, accidents.evolve, district=accidents.district_of)
    risks = Streams("road-risk", road_risk.Graded, road_risk.evolve)
    day_told = Streams("road-days", road_days.Told, road_days.evolve)
    evaluations = Streams("effect", effects.Evaluated, effects.evolve)
    accident_list = View(accidents.ACCIDENT_EVENTS, accidents.row_key, accidents.row, row=accidents.AccidentRow)
    risk_now = View(road_risk.RISK_EVENTS, road_risk.risk_key, road_risk.risk, row=Kept)
    road_hours = View(street_views.STREET_EVENTS, road_days.hour_key, road_days.hour, row=road_days.RoadHoursRow)
    road_months = View((ev.RoadDayMeasured,), road_days.month_key, road_days.month, row=road_days.MonthRow)

    @rpc
    def RecordAccident(self, request: pb.RecordAccidentRequest) -> pb.RecordAccidentResponse:
        """An accident with its causes."""
        road = self._checked(request.accident)
        return self.accident_records.handle(
            request.accident.accident_id,
            lambda state: accidents.record(state, request.accident, road.district_id),
            lambda _after, _: pb.RecordAccidentResponse(),
        )

    @rpc
    def CorrectAccident(self, request: pb.CorrectAccidentRequest) -> pb.CorrectAccidentResponse:
        """How it is right."""
        road = self._checked(request.accident)
        return self.accident_records.handle(
            request.accident.accident_id,
            lambda state: accidents.correct(state, request, road.district_id),
            lambda _after, _: pb.CorrectAccidentResponse(),
        )

    @rpc
    def WithdrawAccident(self, request: pb.WithdrawAccidentRequest) -> pb.WithdrawAccidentResponse:
        """It should not have been recorded."""
        return self.accident_records.handle(
            request.accident_id,
            lambda state: accidents.withdraw(state, request),
            lambda _after, _: pb.WithdrawAccidentResponse(),
        )

    @rpc
    def ListAccidents(self, request: pb.ListAccidentsRequest) -> pb.ListAccidentsResponse:
        """Those of a road, in pages."""
        self.caller.require_district(self._road(request.edge_id).district_id)
        known = self.accident_list.derived(accidents.by_road).get(request.edge_id, [])
        page, more = self.paging.page(request, known, accidents.place_in_list, default=50)
        return pb.ListAccidentsResponse(accidents=page, next_page_token=more)

    @rpc
    def GradeRisk(self, request: pb.GradeRiskRequest) -> pb.GradeRiskResponse:
        """Computes the risk now."""
        part_id = self._road(request.edge_id).part_id if request.edge_id else ""
        known, now = self.accident_list.derived(accidents.by_road), self.clock.now()
        if road_risk.recorded_years(known, now) < road_risk.LEAST_YEARS:
            what = "accidents are recorded for less than a year: before that, counts say more of chance than of roads"
            raise Refused(what, "TOO_SHORT")
        told = self._grade(known, part_id)
        return pb.GradeRiskResponse(
            graded=sum(len(one.roads) for one in told), without_volume=sum(one.without_volume for one in told)
        )

    @rpc
    def GetRoadRisk(self, request: pb.GetRoadRiskRequest) -> pb.GetRoadRiskResponse:
        """Of one road."""
        row = self.risk_now.get(self._road(request.edge_id).part_id)
        told = row.read(ev.RiskGraded) if row is not None else ev.RiskGraded()
        found = next((one for one in told.roads if one.edge_id == request.edge_id), None)
        if found is None:
            what = "its volume is not known for a week, or accidents are not recorded for a year"
            raise NotFound(f"road {request.edge_id!r} has no grade: {what}", "NOT_GRADED")
        return pb.GetRoadRiskResponse(risk=found, model=told.model, day=told.day)

    @rpc
    def ListRiskyRoads(self, request: pb.ListRiskyRoadsRequest) -> pb.ListRiskyRoadsResponse:
        """High and raised, in pages."""
        known = self.risk_now.derived(road_risk.riskiest_first)
        asked_for = [one for one in known if request.district_id in ("", one.district_id)]
        page, more = self.paging.page(request, asked_for, road_risk.place_in_list, default=50)
        return pb.ListRiskyRoadsResponse(roads=page, next_page_token=more)

    @rpc
    def EvaluateEffect(self, request: pb.EvaluateEffectRequest) -> pb.EvaluateEffectResponse:
        """What a change has done, beside roads without it."""
        before = self.evaluations.load(request.evaluation_id)
        if before.question is not None:
            effects.tell(before, request, pb.Effect())
            return pb.EvaluateEffectResponse(effect=before.effect)
        roads, now = self.network_parts.derived(street_views.roads), self.clock.now()
        effects.check(request, roads)
        when = effects.span(request, road_days.day_of(now))
        edges = [*request.changed_edge_ids, *request.comparison_edge_ids]
        days = self._days({roads[one].part_id for one in edges}, when.before[0].isoformat(), when.after[1].isoformat())
        if request.measure == pb.EFFECT_MEASURE_ACCIDENTS:
            known = self.accident_list.derived(accidents.by_road)
            since = road_days.day_of(accidents.first(known, now))
            effect = effects.of_accidents(request, when, roads, days, known, since, self._model())
        else:
            effect = off_loop(effects.of_travel_times, request, when, roads, days)
        return self.evaluations.handle(
            request.evaluation_id,
            lambda state: effects.tell(state, request, effect),
            lambda after, _: pb.EvaluateEffectResponse(effect=after.effect),
        )

    @rpc
    def GetEffect(self, request: pb.GetEffectRequest) -> pb.GetEffectResponse:
        """An evaluation that was made."""
        return effects.existing(self.evaluations.load(request.evaluation_id), request.evaluation_id)

    @at("02:15")
    def tell_days(self) -> None:
        """Tells what roads were yesterday. No reading of yesterday is taken in any more."""
        on = road_days.yesterday(self.clock.now())
        for part_id in self._parts():
            rows = [row for some in self._road_hours_of(part_id) for row in some]
            told = off_loop(road_days.day, part_id, rows, on)
            self.day_told.handle(part_id, partial(road_days.tell, told=told), lambda _after, _: None, label=part_id)

    @at("04:00")
    def grade_risk(self) -> None:
        """Computes the risk of all roads anew."""
        self._grade(self.accident_list.derived(accidents.by_road))

    @subscribe(ev.AccidentCorrected, ev.AccidentWithdrawn)
    def grade_anew(self, event: Heard) -> None:
        """Records were corrected: what was told of risk may hold no more."""
        self._grade(accidents.applied(self.accident_list.derived(accidents.by_road), event.data))

    # -- below ------------------------------------------------------------------------------------------------------------

    def _checked(self, accident: pb.Accident) -> Road:
        accidents.check(accident, self.road_list.derived(views.lengths), self.clock.now())
        road = self._road(accident.edge_id)
        self.caller.require_district(road.district_id)
        return road

    def _parts(self) -> list[str]:
        return sorted({road.part_id for road in self.network_parts.derived(street_views.roads).values()})

    def _grade(self, known: dict[str, list[pb.Accident]], part_id: str = "") -> list[ev.RiskGraded]:
        """Grades a part, or all, by what is learnt from all; nothing before accidents are recorded for a year."""
        now, roads = self.clock.now(), self.network_parts.derived(street_views.roads)
        years = road_risk.recorded_years(known, now)
        if years < road_risk.LEAST_YEARS:
            return []
        today = road_days.day_of(now)
        since = (today - timedelta(days=road_risk.VOLUME_DAYS)).isoformat()
        days = self._days(self._parts(), since, today.isoformat())
        some = road_risk.segments(roads, days, known, years, now)
        model = off_loop(road_risk.model_of, [segment for segment, _ in some.values()])
        told = [road_risk.grade(one, roads, some, model, known, now) for one in self._parts() if part_id in ("", one)]
        for one in told:
            self.risks.handle(one.part_id, partial(road_risk.tell, told=one), lambda _after, _: None, label=one.part_id)
        return told

    def _model(self) -> Model:
        """What was learnt last of roads of this city, or what was published."""
        models = [row.model for row in self.risk_now.derived(_graded) if row.model.fitted]
        if not models:
            return PUBLISHED
        one = models[0]
        return Model(one.a, one.b, one.overdispersion, True, one.roads, one.accidents)

    def _days(self, parts: set[str] | list[str], since: str, until: str) -> road_days.Days:
        found: road_days.Days = {}
        for part_id in sorted(parts):
            last = begin = prefix(part_id)
            while rows := [each for each in self.road_months.scan(last, SCANNED) if each[0].startswith(begin)]:
                last = rows[-1][0]
                for edge_id, known in road_days.days(rows, since, until).items():
                    found.setdefault(edge_id, {}).update(known)
        return found

    def _road_hours_of(self, part_id: str) -> Iterator[list[road_days.RoadHoursRow]]:
        last = begin = prefix(part_id)
        while rows := [each for each in self.road_hours.scan(last, SCANNED) if each[0].startswith(begin)]:
            last = rows[-1][0]
            yield [row for _, row in rows]


def _graded(rows: list[Kept]) -> list[ev.RiskGraded]:
    return [row.read(ev.RiskGraded) for row in rows]
