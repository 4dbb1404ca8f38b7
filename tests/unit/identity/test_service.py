"""Tokens that are given out allow no more than their giver's own, and signing keys change when it is time."""

from __future__ import annotations

import time
from typing import Any

import pytest
from citybrain.identity.v1 import identity_service_pb2 as pb
from citybrain.identity.v1.events_pb2 import SigningKeyChanged
from citybrain.options.v1.options_pb2 import CLASSIFICATION_INTERNAL, CLASSIFICATION_SECRET
from google.protobuf.duration_pb2 import Duration

from citybrain.mesh.access import keys
from citybrain.mesh.access.principal import Principal
from citybrain.mesh.errors import BadRequest, Forbidden, Refused
from citybrain.mesh.testing import Running, running
from citybrain.mesh.testing.parts import greenlets
from citybrain.services.identity.service import IdentityService

GIVER: dict[str, Any] = {"scopes": ["identity.issue", "health.read"], "clearance": "INTERNAL", "district": "xihu"}
DESK = {"subject": "desk", "scopes": ["health.read"], "district_id": "xihu"}


def issue(identity: Running, giver: dict[str, Any] = GIVER, **asked: Any) -> Principal:
    """The caller that the token given out names."""
    answer = identity.fire("IssueToken", pb.IssueTokenRequest(**{**DESK, **asked}), **giver)
    return greenlets().do(identity.parts.process.access.verifier.verify(answer.token))


def test_a_token_says_what_was_asked_for_and_is_good() -> None:
    with running(IdentityService) as identity:
        found = issue(identity, team="hubs", clearance=CLASSIFICATION_INTERNAL)
        assert found == Principal("desk", "", "hubs", frozenset({"health.read"}), "xihu", CLASSIFICATION_INTERNAL)
        # Nobody sees more than what is public unless it is asked for.
        assert issue(identity).clearance == 1


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"scopes": ["health.read", "health.dispatch"]}, "NO_SCOPE"),
        ({"scopes": ["*"]}, "NO_SCOPE"),
        ({"clearance": CLASSIFICATION_SECRET}, "LOW_CLEARANCE"),
        ({"district_id": "gongshu"}, "OTHER_DISTRICT"),
        # Bound to none would be more than the giver's own.
        ({"district_id": ""}, "OTHER_DISTRICT"),
    ],
)
def test_nobody_gives_on_more_than_they_hold(asked: dict[str, Any], reason: str) -> None:
    with running(IdentityService) as identity:
        with pytest.raises(Forbidden) as caught:
            issue(identity, **asked)
        assert caught.value.reason == reason


def test_a_token_that_cannot_be_is_refused_by_name() -> None:
    with running(IdentityService) as identity:
        with pytest.raises(BadRequest, match="services make their own"):
            issue(identity, subject="service:health")
        with pytest.raises(BadRequest, match=r"identity\.longest_h"):
            issue(identity, lasts=Duration(seconds=25 * 3600))


def test_keys_change_on_request_and_the_change_is_an_event_without_the_key() -> None:
    with running(IdentityService) as identity:
        before = identity.fire("GetKeys", pb.GetKeysRequest())
        after = identity.fire("RotateKeys", pb.RotateKeysRequest(reason="somebody left")).signing
        assert after != before.signing and after in before.key_ids
        (changed,) = identity.events(SigningKeyChanged)
        assert changed.data == SigningKeyChanged(key_id=after, reason="somebody left")
        with pytest.raises(Refused, match="no next key that everybody knows"):
            identity.fire("RotateKeys", pb.RotateKeysRequest(reason="again"))


def test_in_a_drill_no_token_is_given_out_and_no_key_changes() -> None:
    with running(IdentityService) as identity:
        before = identity.fire("GetKeys", pb.GetKeysRequest())
        token = pb.IssueTokenRequest(subject="desk", scopes=["health.read"], district_id="xihu")
        for method, request in (("IssueToken", token), ("RotateKeys", pb.RotateKeysRequest(reason="so"))):
            with pytest.raises(Refused, match="call without naming an exercise"):
                identity.fire(method, request, exercise="fire-1", scopes=["*"], district="xihu")
        assert identity.fire("GetKeys", pb.GetKeysRequest()) == before


def test_keys_change_by_themselves_when_it_is_time_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(IdentityService) as identity:
        first = identity.fire("GetKeys", pb.GetKeysRequest()).signing
        identity.fire("look_after_keys")
        assert identity.fire("GetKeys", pb.GetKeysRequest()).signing == first
        later = time.time() + 31 * 86_400
        monkeypatch.setattr(time, "time", lambda: later)
        identity.fire("look_after_keys")
        (changed,) = identity.events(SigningKeyChanged)
        assert changed.data.key_id != first  # type: ignore[attr-defined]
        assert keys.KeyRing(identity.parts.process.settings.data / "identity", longest_s=60).signing != first


def test_who_asks_is_told_what_they_have_used_today_and_may_use_and_of_nobody_else() -> None:
    with running(IdentityService) as identity:
        for _ in range(3):
            identity.fire("GetKeys", pb.GetKeysRequest(), caller="desk")
        identity.fire("RotateKeys", pb.RotateKeysRequest(reason="it is time"), caller="somebody-else")
        told = identity.fire("GetUsage", pb.GetUsageRequest(), caller="desk", scopes=["usage.read"])
        used = {one.method_class: (one.used, one.limit) for one in told.usages}
        # This call is counted too.
        assert used == {"read": (4, 1_000_000), "command": (0, 200_000), "stream": (0, 20_000)}
        assert 0 < told.begins_anew.seconds - time.time() <= 24 * 3600
        free = identity.fire("GetUsage", pb.GetUsageRequest(), caller="operator", scopes=["*"])
        assert [one.limit for one in free.usages] == [0, 0, 0]
