"""Finds what a caller could fill without a limit in a request: text, lists, numbers that are none, unknown enum values.

And answers that grow with the city: a list that has no pages.
"""

from __future__ import annotations

from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

_RULES: Any = validate_pb2.field
_TEXT = {FieldDescriptor.TYPE_STRING: "string", FieldDescriptor.TYPE_BYTES: "bytes"}
_REAL = {FieldDescriptor.TYPE_DOUBLE: "double", FieldDescriptor.TYPE_FLOAT: "float"}
# Answers without pages, each with the reason why their lists stay short.
WHOLE = {
    "citybrain.clock.v1.ClockService.Rest": "the streams that callers have named and keep open, which are limited",
    "citybrain.credit.v1.CreditService.CheckAuthorised": "at most twenty reasons",
    "citybrain.credit.v1.CreditService.CheckCredit": "at most twenty reasons",
    "citybrain.district_hub.v1.DistrictHubService.AlertDistricts": "the districts of one city",
    "citybrain.district_hub.v1.DistrictHubService.NotifyDistricts": "the roads of the request",
    "citybrain.district_hub.v1.DistrictHubService.WithdrawNotices": "the districts that one incident was told of",
    "citybrain.tourism.v1.TourismService.GetForecasts": "the two horizons",
    "citybrain.tourism.v1.TourismService.GetFlows": "places that exchange people with one place, by source",
    "citybrain.tourism.v1.TourismService.GetSpend": "four kinds of visitors by source",
    "citybrain.tourism.v1.TourismService.GetOpinion": "nine topics, six channels, and risks of nine topics on 92 days",
    "citybrain.tourism.v1.TourismService.GetOrigins": "provinces and cities of the country, by source",
    "citybrain.environment.v1.EnvironmentService.ReportReadings": "exceedances that one batch belongs to; at most 100 are told",
    "citybrain.health.v1.HealthService.StandDownHospitals": "the hospitals of one warning",
    "citybrain.health.v1.HealthService.WarnHospitals": "at most 50 hospitals are asked for",
    "citybrain.identity.v1.IdentityService.GetKeys": "two keys are published at a time",
    "citybrain.identity.v1.IdentityService.GetUsage": "there are three classes of methods",
    "citybrain.mesh.v1.MeshService.ListFaults": "at most twenty are on in a process",
    "citybrain.mesh.v1.MeshService.GetStatus": "the services of one process",
    "citybrain.safety.v1.SafetyService.AssignUnits": "at most 20 units of each kind are asked for",
    "citybrain.safety.v1.SafetyService.PlanCordon": "at most 50 roads",
    "citybrain.safety.v1.SafetyService.PostUnits": "at most 20 police cars are asked for",
    "citybrain.safety.v1.SafetyService.RecallUnits": "the units of one post",
    "citybrain.safety.v1.SafetyService.ReleaseUnits": "the units of one incident",
    "citybrain.sagas.v1.SagaService.TerminateSaga": "the steps of one workflow",
    "citybrain.traffic.v1.TrafficService.ApplyControlStrategy": "at most 1,000 signals of one area",
    "citybrain.traffic.v1.TrafficService.GetSignalControl": "the stages and lanes of one signal",
    "citybrain.traffic.v1.TrafficService.ReopenRoads": "at most 50 roads are closed by one closure",
    "citybrain.traffic.v1.TrafficService.GetRoadForecast": "flow and speed, each 15 and 60 minutes ahead",
    "citybrain.traffic.v1.TrafficService.ReportDeviceStates": "the first 100 unknown devices are shown",
    "citybrain.traffic.v1.TrafficService.ReportDetectorReadings": "the first 100 refusals are shown",
    "citybrain.traffic.v1.TrafficService.GrantPriority": "the signals on the roads of the request",
    "citybrain.tourism.v1.TourismService.GetPlace": "two peaks that are open and the newest three, and at most 100 measures",
    "citybrain.tourism.v1.TourismService.LiftMeasure": "at most 100 measures are in force at a place",
    "citybrain.urban.v1.UrbanService.CloseParkingEntry": "at most 20 lots are named",
    "citybrain.urban.v1.UrbanService.CorrectReadings": "the newest 20 anomalies of a device can be corrected",
    "citybrain.urban.v1.UrbanService.ForecastDrainage": "the fullest 500 nodes of one network",
    "citybrain.urban.v1.UrbanService.GetIndices": "there are six indices",
    "citybrain.urban.v1.UrbanService.GetPlaceProfile": "the nearest 100 things, 50 tickets and 50 hazards",
    "citybrain.urban.v1.UrbanService.GetRepairTimes": "the kinds of work",
    "citybrain.urban.v1.UrbanService.GetTicket": "the newest 100 calls of a ticket",
    "citybrain.urban.v1.UrbanService.GetTurnover": "at most 92 days of a lot",
    "citybrain.urban.v1.UrbanService.OpenParkingEntry": "at most 20 lots are named",
    "citybrain.urban.v1.UrbanService.PlanSeats": "the half hours of a day",
    "citybrain.urban.v1.UrbanService.RegisterWaterNetwork": "a few remarks on one network",
    "citybrain.urban.v1.UrbanService.ReportReadings": "the first 100 refusals are shown",
}
_SIZES = ("max_bytes", "max_len", "len", "len_bytes", "const", "in")


def unbounded(contracts: FileDescriptorSet) -> list[str]:
    """One line per field, in the requests of all methods and in the messages inside them, with the rule it lacks."""
    pool = DescriptorPool()
    requests: dict[str, Descriptor] = {}
    for file in contracts.file:
        pool.Add(file)
        for service in pool.FindFileByName(file.name).services_by_name.values():
            for method in service.methods:
                _reachable(method.input_type, requests)
    fields = [field for message in requests.values() for field in message.fields]
    lacks = {field.full_name: rule for field in fields if (rule := _missing(field))}
    return [f"{name} has no limit: give it (buf.validate.field).{rule}" for name, rule in lacks.items()]


def unpaged(contracts: FileDescriptorSet) -> list[str]:
    """One line per method that answers with a list and has no pages, or only says that it has."""
    pool = DescriptorPool()
    found: list[str] = []
    for file in contracts.file:
        pool.Add(file)
        for service in pool.FindFileByName(file.name).services_by_name.values():
            for method in service.methods:
                lists = any(field.is_repeated for field in method.output_type.fields)
                if lists and not method.server_streaming and method.full_name not in WHOLE and not _has_pages(method):
                    found.append(
                        f"{method.full_name} answers with a list and has no pages: give its request page_token and a page_size "
                        "with a limit, its answer next_page_token, or say in tools/bounds.py why the list is never long"
                    )
    return found


def _has_pages(method: MethodDescriptor) -> bool:
    asked, told = method.input_type.fields_by_name, method.output_type.fields_by_name
    if not ("page_size" in asked and "page_token" in asked and "next_page_token" in told):
        return False
    return bool(asked["page_size"].GetOptions().Extensions[_RULES].int32.WhichOneof("less_than"))


def _reachable(message: Descriptor, seen: dict[str, Descriptor]) -> None:
    if message.full_name not in seen and not message.full_name.startswith("google.protobuf."):
        seen[message.full_name] = message
        for field in message.fields:
            if field.message_type is not None:
                _reachable(field.message_type, seen)


def _missing(field: FieldDescriptor) -> str:
    """The rule that a field lacks; nothing where it has a limit or needs none."""
    if field.containing_type is not None and field.containing_type.GetOptions().map_entry:
        return ""  # told where the map stands
    rules = field.GetOptions().Extensions[_RULES]
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        lacks = {"keys": _of_one(key, rules.map.keys), "values": _of_one(value, rules.map.values)}
        inner = next((f"map.{name}.{rule}" for name, rule in lacks.items() if rule), "")
        return inner if rules.map.HasField("max_pairs") else "map.max_pairs"
    if field.is_repeated:
        inner = _of_one(field, rules.repeated.items)
        limited = rules.repeated.HasField("max_items")
        return (inner and f"repeated.items.{inner}") if limited else "repeated.max_items"
    return _of_one(field, rules)


def _of_one(field: FieldDescriptor, rules: Any) -> str:
    if kind := _TEXT.get(field.type):
        sized = {rule.name for rule, _ in getattr(rules, kind).ListFields()}
        return "" if sized.intersection(_SIZES) else f"{kind}.max_bytes"
    if kind := _REAL.get(field.type):
        real = getattr(rules, kind)
        ranged = all(real.WhichOneof(end) for end in ("less_than", "greater_than"))
        return "" if real.finite or ranged else f"{kind}.finite"
    if field.enum_type is not None:
        return "" if rules.enum.defined_only or rules.enum.HasField("const") else "enum.defined_only"
    return ""
