"""A contract that forgets who may call, or whose district a request names, is found before it is committed."""

from __future__ import annotations

from citybrain.options.v1 import options_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from citybrain.local.contracts import descriptors
from tools.closed import closed, unmarked

HUB = "citybrain.district_hub.v1"


def contracts() -> FileDescriptorSet:
    return FileDescriptorSet.FromString(descriptors().read_bytes())


def test_every_method_of_the_city_says_who_may_call_it_and_every_request_whose_district_it_names() -> None:
    assert unmarked(contracts()) == []
    assert closed(contracts()) == []


def test_a_method_without_a_scope_and_a_district_without_its_mark_are_named() -> None:
    changed = contracts()
    (file,) = [file for file in changed.file if file.name == "citybrain/district_hub/v1/district_hub_service.proto"]
    (subscribe,) = [method for method in file.service[0].method if method.name == "Subscribe"]
    subscribe.options.ClearExtension(options_pb2.scope)  # type: ignore[arg-type]
    (request,) = [message for message in file.message_type if message.name == "SubscribeRequest"]
    request.field[0].options.ClearExtension(options_pb2.district)  # type: ignore[arg-type]
    assert closed(changed) == [f"{HUB}.DistrictHubService.Subscribe"]
    (told,) = unmarked(changed)
    assert told.startswith(f"{HUB}.SubscribeRequest.district_id names a district in a request")
