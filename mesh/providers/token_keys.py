"""The keys that sign the installation's own tokens, for the service that gives tokens out."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from citybrain.mesh.access.installation import NoSuchToken, caller_token, usual_s
from citybrain.mesh.access.limits import DAY_S
from citybrain.mesh.errors import BadRequest
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.context import refuse_in_exercise
from citybrain.mesh.runtime.nameko import DependencyProvider


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """The ids of the published keys, the one that signs, and since when (microseconds since 1970)."""

    ids: tuple[str, ...]
    signing: str
    since: int


class TokenKeys(DependencyProvider):  # type: ignore[misc]
    """Gives out tokens, and changes keys; inside a method: `self.keys.issue(…)`, `self.keys.rotate()`."""

    container: Container

    def get_dependency(self, worker_ctx: Any) -> TokenKeys:
        """The provider itself."""
        return self

    def issue(
        self, *, subject: str, scopes: Iterable[str], team: str, district: str, clearance: str, lasts_s: float
    ) -> tuple[str, int]:
        """A token, and when it ends (microseconds since 1970). BadRequest: no such token can be. Refused: in an exercise."""
        refuse_in_exercise("tokens are good in the city too")
        process = self.container.process
        try:
            token = caller_token(
                process.settings, process.access.ring, subject=subject, scopes=scopes, team=team, district=district,
                clearance=clearance, lasts_s=lasts_s,
            )  # fmt: skip
        except NoSuchToken as error:
            raise BadRequest([("request", str(error))]) from None
        return token, int((time.time() + lasts_s) * 1_000_000)

    def usual_s(self) -> float:
        """How long a token lasts if nobody says."""
        return usual_s(self.container.process.access.ring)

    def known(self) -> KnownKeys:
        """The keys now."""
        ring = self.container.process.access.ring
        ids = sorted(str(key.kid) for key in ring.published().keys)
        return KnownKeys(tuple(ids), ring.signing, int(ring.since * 1_000_000))

    def due(self) -> bool:
        """Whether the key that signs has signed for as long as it should."""
        process = self.container.process
        return time.time() - process.access.ring.since > process.settings.identity.rotate_days * DAY_S

    def rotate(self) -> str:
        """Lets the next key sign, and returns its id; empty: there is no next one yet. Refused: in an exercise."""
        refuse_in_exercise("keys sign for the city too")
        ring = self.container.process.access.ring
        return ring.signing if ring.rotate() else ""

    def tidy(self) -> None:
        """Makes the next key, if the one before has ended."""
        self.container.process.access.ring.tidy()
