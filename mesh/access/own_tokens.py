"""The tokens that services of this process show to others: who they are, and for whom they call."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable

from citybrain.mesh.access.keys import KeyRing
from citybrain.mesh.access.principal import service_subject

_LASTS_S = 600.0
# A token is shown no more when less than this of it is left.
_LEAST_LEFT_S = 120.0
_REMEMBERED = 10_000


class OwnTokens:
    """Makes tokens for services, each with the scopes of the services that it calls, and no more."""

    def __init__(self, ring: KeyRing, issuer: str, audience: str) -> None:
        self._ring = ring
        self._base = {"iss": issuer, "aud": audience, "clearance": "SECRET"}
        self._scopes: dict[str, str] = {}
        # By service and the subject it calls for: when to make a new one (machine time), and the token.
        self._made: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()

    def grant(self, service: str, scopes: Iterable[str]) -> None:
        """The scopes of a service, by the name in its manifest; in place of those it had."""
        self._scopes[service] = " ".join(sorted(scopes))

    def token(self, service: str, behalf: str = "") -> str:
        """A token of this service. `behalf`: the subject that it calls for; empty: nobody but itself."""
        found = self._made.get((service, behalf))
        now = time.monotonic()
        if found is not None and now < found[0]:
            return found[1]
        me = service_subject(service)
        who = {"sub": behalf, "act": {"sub": me}} if behalf and behalf != me else {"sub": me}
        lasts_s = min(_LASTS_S, self._ring.longest_s)
        token = self._ring.sign({**self._base, **who, "scope": self._scopes.get(service, "")}, lasts_s=lasts_s)
        self._made[service, behalf] = (now + lasts_s - _LEAST_LEFT_S, token)
        while len(self._made) > _REMEMBERED:
            self._made.popitem(last=False)
        return token
