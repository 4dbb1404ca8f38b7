"""The access of one installation, as its configuration says: whose tokens are good, and its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from citybrain.mesh.access.keys import KeyRing
from citybrain.mesh.access.own_tokens import OwnTokens
from citybrain.mesh.access.principal import CLEARANCES, EVERYTHING, SERVICE
from citybrain.mesh.access.verifying import Issuer, OtherIssuer, OwnIssuer, Verifier
from citybrain.mesh.settings.values import Settings

OPERATOR = "operator"
"""The subject of the installation's own token, with which commands on its machine act."""

_LASTS_S = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class Access:
    """The keys of an installation, who is believed, and the tokens of its services."""

    ring: KeyRing
    verifier: Verifier
    tokens: OwnTokens


def keys_folder(settings: Settings) -> Path:
    """The folder of the keys that sign this installation's tokens."""
    return settings.identity.keys or settings.data / "identity"


def open_ring(settings: Settings) -> KeyRing:
    """The keys; made at the first start. KeysError: what is there is no ring of keys."""
    return KeyRing(keys_folder(settings), longest_s=settings.identity.longest_h * 3600)


def open_access(settings: Settings) -> Access:
    """Everything that a process needs to know callers, and to be known. KeysError: as `open_ring`."""
    identity, ring = settings.identity, open_ring(settings)
    issuers: list[Issuer] = [OwnIssuer(ring, identity.issuer, identity.audience)]
    issuers += [
        OtherIssuer(name, one.issuer, one.audience or identity.audience, one.jwks) for name, one in identity.others.items()
    ]
    return Access(ring, Verifier(issuers), OwnTokens(ring, identity.issuer, identity.audience))


def usual_s(ring: KeyRing) -> float:
    """How long a token lasts if nobody says: a working day, or as long as a token may."""
    return min(_LASTS_S, ring.longest_s)


class NoSuchToken(Exception):
    """A token that was asked for cannot be given; the message says what to ask for instead."""


def caller_token(
    settings: Settings,
    ring: KeyRing,
    *,
    subject: str = OPERATOR,
    scopes: Iterable[str] = (EVERYTHING,),
    team: str = "",
    district: str = "",
    clearance: str = "SECRET",
    lasts_s: float | None = None,
) -> str:
    """A token for somebody outside of the mesh; without more, the installation's own, which may do everything.

    `lasts_s`: None: half a day, or as long as a token may last.
    """
    if not subject or subject.startswith(SERVICE):
        raise NoSuchToken(f"a subject must be a text that does not begin with {SERVICE}: services make their own tokens")
    if clearance not in CLEARANCES:
        raise NoSuchToken(f"there is no clearance {clearance}: there are {', '.join(CLEARANCES)}")
    claims = {
        "iss": settings.identity.issuer,
        "aud": settings.identity.audience,
        "sub": subject,
        "scope": " ".join(scopes),
        "clearance": clearance,
        **{name: value for name, value in (("team", team), ("district", district)) if value},
    }
    try:
        return ring.sign(claims, lasts_s=usual_s(ring) if lasts_s is None else lasts_s)
    except ValueError as error:
        raise NoSuchToken(str(error)) from None
