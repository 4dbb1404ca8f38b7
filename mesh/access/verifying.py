"""Reads tokens: who signed, for whom, until when. What is not in a verified token is not believed."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
import urllib.request
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from typing_extensions import override

from citybrain.mesh.access.keys import KeyRing
from citybrain.mesh.access.principal import EVERYTHING, SERVICE, ClaimError, Principal, principal_of
from citybrain.mesh.errors import Unauthenticated, Unavailable
from citybrain.observability.logs import logger

ALGORITHMS = ("RS256", "ES256")
"""What a token may be signed with; never what its own header asks for."""

_LONGEST_TOKEN = 8192
_REMEMBERED = 10_000
# How far the clock of an issuer may be from ours, in seconds.
_LEEWAY_S = 30
# Keys of others are fetched again after so long, and no sooner than the second value for an unknown key.
_FETCH_AGAIN_S = 300.0
_FETCH_SOONEST_S = 5.0
_FETCH_LIMIT_S = 5.0
_MOST_KEYS_BYTES = 256 * 1024
_log = logger("access")


class Issuer:
    """Somebody whose tokens are believed. `name`: empty for this installation; else it begins the subjects of its tokens."""

    def __init__(self, name: str, issuer: str, audience: str) -> None:
        self.name = name
        self.issuer = issuer
        self.audience = audience

    async def keys(self, kid: str) -> KeySet:
        """Its public keys, read again if none has this id. Unavailable: they cannot be read now."""
        raise NotImplementedError

    def admits(self, principal: Principal) -> Principal:
        """The caller as the mesh knows them. Unauthenticated: the token claims what this issuer may not give."""
        return principal


class OwnIssuer(Issuer):
    """This installation: it alone names services, and gives every scope."""

    def __init__(self, ring: KeyRing, issuer: str, audience: str) -> None:
        super().__init__("", issuer, audience)
        self._ring = ring

    @override
    async def keys(self, kid: str) -> KeySet:
        """The keys in the folder."""
        found = self._ring.published()
        if all(key.kid != kid for key in found.keys):
            self._ring.look_again()
            found = self._ring.published()
        return found


class OtherIssuer(Issuer):
    """A provider of identities (OpenID Connect). `jwks`: a file with its public keys, or the https URL of one."""

    def __init__(self, name: str, issuer: str, audience: str, jwks: str) -> None:
        super().__init__(name, issuer, audience)
        self._jwks = jwks
        self._known = KeySet([])
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    @override
    async def keys(self, kid: str) -> KeySet:
        """The keys as they were read last, or read now."""
        async with self._reading:
            age = time.monotonic() - self._read_at
            known = any(key.kid == kid for key in self._known.keys)
            if age > _FETCH_AGAIN_S or (not known and age > _FETCH_SOONEST_S):
                try:
                    self._known = KeySet.import_key_set(json.loads(await asyncio.to_thread(self._fetch)))
                    self._read_at = time.monotonic()
                except (OSError, ValueError, JoseError) as error:
                    # Keys that were read before stay good.
                    if not known:
                        # The error may name a file or a host, and nobody knows yet who calls.
                        _log.warning("the public keys of an issuer cannot be read", issuer=self.name, error=error)
                        problem = f"the public keys of {self.name} cannot be read now: try again later"
                        raise Unavailable(problem, "KEYS_AWAY") from None
        return self._known

    def _fetch(self) -> bytes:
        if not self._jwks.startswith("https://"):
            return Path(self._jwks).read_bytes()
        with urllib.request.urlopen(self._jwks, timeout=_FETCH_LIMIT_S) as answer:  # noqa: S310
            content: bytes = answer.read(_MOST_KEYS_BYTES)
            return content

    @override
    def admits(self, principal: Principal) -> Principal:
        """Its subjects get its name before theirs. It cannot speak for services, nor give the scope of everything."""
        if principal.actor or principal.subject.startswith(SERVICE) or EVERYTHING in principal.scopes:
            raise refusal(f"{self.name} may not give out tokens of services, or the scope {EVERYTHING}")
        return replace(principal, subject=f"{self.name}:{principal.subject}")


class Verifier:
    """Knows whose tokens are believed, and remembers those it has verified until they end."""

    def __init__(self, issuers: Iterable[Issuer]) -> None:
        self._issuers = {one.issuer: one for one in issuers}
        self._verified: OrderedDict[str, Principal] = OrderedDict()

    def known(self, token: str) -> Principal | None:
        """The caller of a token that was verified before, and is still good."""
        found = self._verified.get(token)
        return found if found is not None and time.time() < found.ends else None

    async def verify(self, token: str) -> Principal:
        """The caller that a token names. Unauthenticated: it is not good. Unavailable: its issuer's keys are out of reach."""
        if (known := self.known(token)) is not None:
            return known
        if len(token) > _LONGEST_TOKEN:
            raise refusal(f"it is longer than {_LONGEST_TOKEN} characters")
        header, claims = unverified(token)
        issuer = self._issuers.get(str(claims.get("iss", "")))
        if issuer is None:
            raise refusal(f"its issuer is none of {', '.join(self._issuers)}")
        try:
            keys = await issuer.keys(str(header.get("kid", "")))
            verified = jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims
            _rules(issuer).validate(verified)
            principal = issuer.admits(principal_of(verified))
        except (JoseError, ClaimError, ValueError) as error:
            raise refusal(str(error)) from None
        self._verified[token] = principal
        while len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)
        return principal


def refusal(why: str) -> Unauthenticated:
    """The error for a token that is not good."""
    return Unauthenticated(f"this token is not good: {why}. `city token` prints one that is", "BAD_TOKEN")


def _rules(issuer: Issuer) -> jwt.JWTClaimsRegistry:
    return jwt.JWTClaimsRegistry(
        leeway=_LEEWAY_S,
        iss={"essential": True, "value": issuer.issuer},
        aud={"essential": True, "value": issuer.audience},
        sub={"essential": True},
        exp={"essential": True},
    )


def unverified(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims, only to find the keys to verify with."""
    parts = token.split(".")
    try:
        if len(parts) != 3:
            raise ValueError("it has not three parts")
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in parts[:2])
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise ValueError("its parts are no objects")
    except (ValueError, binascii.Error, RecursionError):
        raise refusal("it is no JWT") from None
    return header, claims
