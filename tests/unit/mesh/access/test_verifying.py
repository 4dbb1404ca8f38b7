"""Which tokens are believed: those of a known issuer, for us, not ended, signed as we say and not as the token says."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from citybrain.mesh.access import verifying
from citybrain.mesh.access.keys import KeyRing
from citybrain.mesh.access.principal import Principal
from citybrain.mesh.access.verifying import OtherIssuer, OwnIssuer, Verifier
from citybrain.mesh.errors import Unauthenticated, Unavailable

OURS = {"iss": "us", "aud": "here"}
THEIRS = "https://login.example"


class World:
    """An installation and a provider of identities with a key of each kind."""

    def __init__(self, folder: Path) -> None:
        self.ring = KeyRing(folder / "identity", longest_s=3600)
        self.rsa = RSAKey.generate_key(2048, {"kid": "rsa-1"}, private=True)
        self.ec = ECKey.generate_key("P-256", {"kid": "ec-1"}, private=True)
        self.file = folder / "theirs.json"
        self.publish(self.rsa, self.ec)
        theirs = OtherIssuer("city", THEIRS, "here", str(self.file))
        self.verifier = Verifier([OwnIssuer(self.ring, "us", "here"), theirs])

    def publish(self, *keys: Any) -> None:
        self.file.write_text(json.dumps(KeySet(list(keys)).as_dict(private=False)))

    def verify(self, token: str) -> Principal:
        return asyncio.run(self.verifier.verify(token))

    def theirs(self, key: Any, alg: str, **claims: Any) -> str:
        times = {"exp": int(time.time()) + 60}
        every = {"iss": THEIRS, "aud": "here", "sub": "zhang", **times, **claims}
        return jwt.encode({"alg": alg, "kid": key.kid}, {k: v for k, v in every.items() if v is not None}, key)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def signed_with_secret(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    signed = f"{part(header)}.{part(claims)}"
    tag = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(tag).decode().rstrip('=')}"


def test_an_own_token_says_who_calls_and_what_they_may(world: World) -> None:
    claims = {
        "sub": "desk 西湖", "team": "district-hubs", "scope": "district.read district.acknowledge", "district": "xihu",
        "clearance": "RESTRICTED",
    }  # fmt: skip
    found = world.verify(world.ring.sign({**OURS, **claims}, lasts_s=60))
    scopes = frozenset({"district.read", "district.acknowledge"})
    assert found == Principal("desk 西湖", "", "district-hubs", scopes, "xihu", 3)
    assert found.caller == "desk 西湖" and not found.is_service


def test_a_service_that_calls_for_somebody_is_the_caller(world: World) -> None:
    token = world.ring.sign({**OURS, "sub": "zhang", "act": {"sub": "service:sagas"}}, lasts_s=60)
    found = world.verify(token)
    assert (found.caller, found.subject, found.is_service) == ("service:sagas", "zhang", True)


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_a_provider_of_identities_is_believed_and_its_name_stands_before_its_subjects(world: World, alg: str) -> None:
    found = world.verify(world.theirs(world.rsa if alg == "RS256" else world.ec, alg, scope="health.read"))
    assert found == Principal("city:zhang", scopes=frozenset({"health.read"}))


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": 1}, "expired"),
        ({"exp": None}, "exp"),
        ({"nbf": 32503680000}, "not yet valid"),
        ({"aud": "elsewhere"}, "aud"),
        ({"aud": None}, "aud"),
        ({"sub": None}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "x" * 201}, "sub"),
        ({"iss": "https://login.evil"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"iss": ["us"]}, "issuer"),
        ({"clearance": "COSMIC"}, "clearance"),
        ({"scope": ["a"]}, "scope"),
        ({"act": "service:sagas"}, "act"),
        # Only this installation names its services, and gives everything.
        ({"sub": "service:sagas"}, "services"),
        ({"act": {"sub": "service:sagas"}}, "services"),
        ({"scope": "*"}, "services"),
    ],
)
def test_a_token_with_claims_that_are_not_good_is_refused_and_the_claim_named(
    world: World, claims: dict[str, Any], why: str
) -> None:
    with pytest.raises(Unauthenticated, match=why) as caught:
        world.verify(world.theirs(world.rsa, "RS256", **claims))
    assert caught.value.reason == "BAD_TOKEN" and "city token" in str(caught.value)


def test_a_token_says_nothing_about_how_it_is_verified(world: World) -> None:
    claims = {"iss": THEIRS, "aud": "here", "sub": "zhang", "exp": int(time.time()) + 60}
    public = json.dumps(world.rsa.as_dict(private=False)).encode()
    pem = world.rsa.as_pem(private=False)
    confused = [
        # No signature at all.
        f"{part({'alg': 'none'})}.{part(claims)}.",
        f"{part({'alg': 'None', 'kid': 'rsa-1'})}.{part(claims)}.",
        # The public key as if it were a secret.
        *(signed_with_secret({"alg": "HS256", "kid": "rsa-1"}, claims, secret) for secret in (public, pem)),
        # A key that comes with the token.
        jwt.encode(
            {"alg": "ES256", "kid": "mine", "jwk": ECKey.generate_key("P-256").as_dict(private=False)},
            claims, ECKey.generate_key("P-256", {"kid": "mine"}, private=True),
        ),
        # The id of another key than the one that signed; and none.
        jwt.encode({"alg": "ES256", "kid": "rsa-1"}, claims, world.ec),
        jwt.encode({"alg": "RS256", "kid": "rsa-1"}, claims, RSAKey.generate_key(2048, private=True)),
        # Their key, as if it were ours.
        jwt.encode({"alg": "ES256", "kid": "ec-1"}, {**claims, "iss": "us"}, world.ec),
    ]  # fmt: skip
    for token in confused:
        with pytest.raises(Unauthenticated):
            world.verify(token)


@pytest.mark.parametrize("shape", ["", "a", "a.b", "a.b.c", "....", "é.é.é", "e30.e30.", "W10.W10.", "x" * 9000])
def test_what_is_no_token_is_refused(world: World, shape: str) -> None:
    with pytest.raises(Unauthenticated):
        world.verify(shape)


def test_a_changed_token_is_refused_wherever_it_is_changed(world: World) -> None:
    token = world.ring.sign({**OURS, "sub": "zhang", "scope": "health.read"}, lasts_s=60)
    header, claims, signature = token.split(".")
    forged = json.loads(base64.urlsafe_b64decode(claims + "=="))
    for changed in (
        f"{header}.{part({**forged, 'scope': '*'})}.{signature}",
        f"{header}.{claims}.{signature[:-4]}AAAA",
        f"{part({'alg': 'ES256'})}.{claims}.{signature}",
    ):
        with pytest.raises(Unauthenticated):
            world.verify(changed)
    assert world.verify(token).subject == "zhang"


def test_a_verified_token_is_known_until_it_ends_and_not_a_moment_longer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    token = world.ring.sign({**OURS, "sub": "zhang"}, lasts_s=60)
    assert world.verifier.known(token) is None
    world.verify(token)
    assert world.verifier.known(token) is not None
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert world.verifier.known(token) is None


def test_keys_of_others_are_read_again_for_an_unknown_key_but_not_for_each_such_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.verify(world.theirs(world.ec, "ES256"))
    new = ECKey.generate_key("P-256", {"kid": "ec-2"}, private=True)
    world.publish(world.ec, new)
    # Asked for too often, the file is left alone: somebody may be sending rubbish.
    with pytest.raises(Unauthenticated):
        world.verify(world.theirs(new, "ES256"))
    monkeypatch.setattr(verifying, "_FETCH_SOONEST_S", 0.0)
    assert world.verify(world.theirs(new, "ES256")).subject == "city:zhang"


@pytest.mark.tells("field issuer")
def test_while_keys_of_others_cannot_be_read_known_ones_stay_good_and_unknown_ones_can_be_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "_FETCH_SOONEST_S", 0.0)
    world.verify(world.theirs(world.ec, "ES256"))
    world.file.unlink()
    monkeypatch.setattr(verifying, "_FETCH_AGAIN_S", 0.0)
    assert world.verify(world.theirs(world.ec, "ES256", sub="li")).subject == "city:li"
    with pytest.raises(Unavailable, match="public keys of city") as caught:
        world.verify(world.theirs(ECKey.generate_key("P-256", {"kid": "ec-9"}, private=True), "ES256"))
    # Nobody knows yet who calls: where the keys are is no business of theirs.
    assert str(world.file) not in str(caught.value) and world.file.name not in str(caught.value)
