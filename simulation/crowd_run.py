"""Days at a lake, played at a city: counters count, gates and visitors do what the city tells everybody.

What the city makes of it comes back as events. Times are seconds of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date

from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.events.v1.event_pb2 import Event
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.roads.v1.roads_pb2 import RoadEdge, RoadPlace
from citybrain.safety.v1 import safety_service_pb2 as safety
from citybrain.tourism.v1 import forecasts_pb2 as forecasts
from citybrain.tourism.v1 import tourism_service_pb2 as pb
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from citybrain.urban.v1 import parking_pb2 as parking
from citybrain.urban.v1 import places_pb2 as urban

from citybrain.simulation import crowd
from citybrain.simulation.crowd import SITES, Hour, Lake, Told
from citybrain.simulation.gateway_client import Gateway
from citybrain.simulation.moments import city_time
from citybrain.simulation.rhythm import AtRest

TOURISM = "citybrain.tourism.v1.TourismService"
SAFETY = "citybrain.safety.v1.SafetyService"
HEALTH = "citybrain.health.v1.HealthService"
TRAFFIC = "citybrain.traffic.v1.TrafficService"
URBAN = "citybrain.urban.v1.UrbanService"
HUB = "citybrain.district_hub.v1.DistrictHubService"
DISTRICT = "xihu"
NARROW, LAWN = "narrow", "lawn"
POLICE_CARS, AMBULANCES = 6, 2
_ROAD_M, _MPS = 400.0, 11.0
_BATCH = 2000
COUNTED_S, SETTLED_S = 1, 20
"""In each minute: when counters report, and when the minute before is known to the city."""


class CrowdRun:
    """Plays days."""

    def __init__(self, gateway: Gateway, capacities: Mapping[str, int], hear: Sequence[str]) -> None:
        """`hear`: the types of events that are followed, of this district or of none."""
        self._gateway = gateway
        self._capacities = capacities
        self._hear = list(hear)
        self.rhythm = AtRest(gateway)
        self.told: dict[str, Told] = {site.site_id: Told() for site in SITES}
        """What is in force at each site, as everybody may know it."""
        self.counted: dict[str, tuple[int, int]] = {}
        """What the counters of each site saw last: in its narrow part, and in the rest."""

    def begin(self, second: int) -> None:
        """Makes district, roads, units, lots and sites known, at a second of the run."""
        call = self._gateway.call
        self._gateway.advance(second)
        district = hub.RegisterDistrictRequest(district_id=DISTRICT, name="西湖区")
        call(f"{HUB}/RegisterDistrict", district, hub.RegisterDistrictResponse, f"district/{second}")
        # An invented road around the lake, one stretch before each site, in both directions.
        names = [f"lake-{site.site_id}" for site in SITES]
        edges = [
            RoadEdge(
                edge_id=name, length_m=_ROAD_M, free_speed_mps=_MPS, district_id=DISTRICT,
                next_edge_ids=[names[(number + 1) % len(names)], names[number - 1]],
            )
            for number, name in enumerate(names)
        ]  # fmt: skip
        roads = traffic.PublishRoadsRequest(edges=edges)
        call(f"{TRAFFIC}/PublishRoads", roads, traffic.PublishRoadsResponse, f"roads/{second}")
        for number in range(POLICE_CARS):
            unit = safety.RegisterUnitRequest(
                unit_id=f"police-{number + 1}", kind=safety.UNIT_KIND_POLICE_CAR, district_id=DISTRICT,
                station=RoadPlace(edge_id=names[number % len(names)]),
            )  # fmt: skip
            call(f"{SAFETY}/RegisterUnit", unit, safety.RegisterUnitResponse, f"unit/{number}/{second}")
        for number in range(AMBULANCES):
            ambulance = health.RegisterAmbulanceRequest(
                ambulance_id=f"ambulance-{number + 1}", station=RoadPlace(edge_id=names[number])
            )
            call(f"{HEALTH}/RegisterAmbulance", ambulance, health.RegisterAmbulanceResponse, f"ambulance/{number}/{second}")
        hospital = health.RegisterHospitalRequest(
            hospital_id="hospital-1", name="浙江医院", entrance=RoadPlace(edge_id=names[2]), places=10
        )
        call(f"{HEALTH}/RegisterHospital", hospital, health.RegisterHospitalResponse, f"hospital/{second}")
        for site in SITES:
            self._register(site, second)
        self._gateway.follow(
            f"district-{second}",
            f"{HUB}/Subscribe",
            lambda token: hub.SubscribeRequest(
                district_id=DISTRICT, event_types=self._hear, resume_token=token, from_now=not token
            ),
            hub.SubscribeResponse,
        )

    def bring_history(
        self, history: Mapping[str, Mapping[Hour, int]], since: Hour, until: Hour, day: date, midnight: int
    ) -> None:
        """Brings in the hours of the data from one to before another. `day`: that which begins at second `midnight` of the run.

        `history`: site → hour → how many people were there at once.
        """
        for site in SITES:
            known = [
                forecasts.HourlyCount(
                    hour=city_time(midnight - 86_400 * (day - when.day).days + 3600 * when.hour), people=people
                )
                for when, people in sorted(history[site.site_id].items())
                if since <= when < until
            ]
            for number in range(0, len(known), _BATCH):
                some = known[number : number + _BATCH]
                request = forecasts.ImportHourlyCountsRequest(place_id=site.site_id, counts=some)
                name = f"history/{site.site_id}/{midnight}/{until.day}/{number}"
                self._gateway.call(f"{TOURISM}/ImportHourlyCounts", request, forecasts.ImportHourlyCountsResponse, name)

    def play(self, lake: Lake, midnight: int, begin: int, end: int, act: Callable[[int, Event], None]) -> Iterator[int]:
        """Plays minutes of the day that begins at second `midnight`, and gives each minute when the city has dealt with it.

        `act`: what somebody outside does at an event.
        """
        lake.begin(begin)
        for minute in range(begin, end):
            now = midnight + 60 * minute
            self._gateway.advance(now + COUNTED_S)
            self.counted = {site.site_id: crowd.counts(lake.there[site.site_id]) for site in SITES}
            counts = [
                pb.Count(place_id=key, counter_id=name, people=people, counted_at=city_time(now + COUNTED_S))
                for key, seen in self.counted.items()
                for name, people in zip((NARROW, LAWN), seen, strict=True)
            ]
            request = pb.ReportCountsRequest(counts=counts)
            self._gateway.call(f"{TOURISM}/ReportCounts", request, pb.ReportCountsResponse, f"counts/{now}")
            self._gateway.advance(now + SETTLED_S)
            self.rhythm.settle(now + SETTLED_S, act)
            self._ask(now)
            # Whoever sets out in the rest of this minute knows what is in force now.
            lake.pass_minute(minute, self.told)
            yield minute

    def _ask(self, now: int) -> None:
        """What everybody is told: gates and visitors ask for it each minute."""
        answer = self._gateway.call(f"{TOURISM}/ListComfort", pb.ListComfortRequest(), pb.ListComfortResponse, f"comfort/{now}")
        for one in answer.places:
            if one.place_id in self.told:
                said = self.told[one.place_id]
                said.elsewhere, said.booking_paused = tuple(one.elsewhere_ids), one.booking_paused
                said.entry_stopped = one.entry_stopped

    def _register(self, site: crowd.Site, second: int) -> None:
        holds = self._capacities[site.site_id]
        longitude, latitude = site.at
        lot = parking.RegisterParkingRequest(
            lot_id=f"lot-{site.site_id}", name=f"{site.name}停车场", bays=200, district_id=DISTRICT,
            price=parking.ParkingPrice(free_minutes=15, unit_minutes=30, unit_fen=500),
            position=urban.Position(longitude=longitude, latitude=latitude),
        )  # fmt: skip
        self._gateway.call(f"{URBAN}/RegisterParking", lot, parking.RegisterParkingResponse, f"lot/{site.site_id}/{second}")
        narrow = crowd.NARROW_M2 * holds
        place = pb.Place(
            place_id=site.site_id, name=site.name, kind=pb.PLACE_KIND_SITE, district_id=DISTRICT,
            position=pb.Position(longitude=longitude, latitude=latitude),
            parts=[
                pb.Part(part_id=NARROW, name="桥与入口", area_m2=narrow, m2_per_person=1),
                pb.Part(part_id=LAWN, name="园区", area_m2=(holds - narrow) * crowd.LAWN_M2, m2_per_person=crowd.LAWN_M2),
            ],
            counters=[pb.Counter(counter_id=name, part_id=name) for name in (NARROW, LAWN)],
            entrance=RoadPlace(edge_id=f"lake-{site.site_id}"),
            parking_lot_ids=[lot.lot_id], elsewhere_ids=[other.site_id for other in SITES if other is not site],
        )  # fmt: skip
        request = pb.RegisterPlaceRequest(place=place)
        self._gateway.call(f"{TOURISM}/RegisterPlace", request, pb.RegisterPlaceResponse, f"place/{site.site_id}/{second}")
