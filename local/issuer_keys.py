"""The keys (JWKS) of issuers that have a file: read, and looked at again and again while a gateway runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from citybrain.gateway.errors import GatewayError
from citybrain.gateway.settings import GatewaySettings, Issuer
from citybrain.mesh.access.installation import keys_folder
from citybrain.mesh.access.keys import PUBLISHED
from citybrain.mesh.settings.values import Settings
from citybrain.observability.logs import logger

# Envoy itself does not look at such a file again.
_LOOK_S = 0.25
_log = logger("gateway")


def own_issuer(settings: Settings) -> Issuer:
    """The installation itself, whose processes sign tokens."""
    published = keys_folder(settings).absolute() / PUBLISHED
    return Issuer(issuer=settings.identity.issuer, audiences=(settings.identity.audience,), jwks=str(published))


def other_issuers(settings: Settings) -> tuple[Issuer, ...]:
    """The other issuers that are believed here."""
    default = settings.identity.audience
    return tuple(
        Issuer(issuer=one.issuer, audiences=(one.audience or default,), jwks=one.jwks)
        for one in settings.identity.others.values()
    )  # fmt: skip


def issuer_keys(settings: GatewaySettings) -> dict[str, str]:
    """The text of each file, by its issuer. GatewayError: a file cannot be read."""
    found: dict[str, str] = {}
    for issuer in settings.all_issuers:
        if not issuer.remote:
            try:
                found[issuer.issuer] = Path(issuer.jwks).read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise GatewayError(f"the keys of issuer {issuer.issuer} cannot be read: {error}") from None
    return found


class KeyWatch:
    """Calls `changed` when keys have other content than those that are in use."""

    def __init__(self, read: Callable[[], Mapping[str, str]], changed: Callable[[], None]) -> None:
        self._read = read
        self._changed = changed
        self._ending = threading.Event()

    def start(self, in_use: Mapping[str, str]) -> None:
        """Begins to look, if there is something to look at."""
        self.stop()
        if in_use:
            self._ending = threading.Event()
            look = threading.Thread(target=self._look, args=(in_use, self._ending), name="issuer-keys", daemon=True)
            look.start()

    def stop(self) -> None:
        """Ends it. It is not waited for: it may be waiting itself for whoever ends it."""
        self._ending.set()

    def _look(self, in_use: Mapping[str, str], ending: threading.Event) -> None:
        told = ""
        while not ending.wait(_LOOK_S):
            try:
                found = self._read()
                if found != in_use:
                    self._changed()
                    in_use, told = found, ""
            except (GatewayError, OSError) as error:
                # The keys before stay in use. Tried again at the next look; said once.
                if str(error) != told and not ending.is_set():
                    told = str(error)
                    _log.warning("the gateway does not take up changed keys of an issuer", error=told)
