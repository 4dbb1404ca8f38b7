"""The keys that sign this installation's own tokens: a folder, shared by the processes of a machine.

Two keys are published at a time. At first they are the one that signs, and the next. `rotate` lets the next one sign; the one
before stays published, so that its tokens are good until they end. When the last of them has ended, `tidy` removes it, and
makes the next, which may sign as soon as everybody has had time to read it. So whoever knows the published keys knows every key
that signs, and no token is refused by a rotation.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

ALGORITHM = "ES256"
"""How own tokens are signed. Tokens of other issuers may be signed with RS256 too."""
PUBLISHED = "jwks.json"
"""The file with the public keys (RFC 7517), for the gateway."""

KNOWN_S = 60.0
"""So long a key must have been published before it signs: gateways read keys again within this time."""

_RING = "ring.json"
_LOOK_S = 1.0
# So much longer than its longest token a key stays: another process may not have seen yet that it does not sign any more.
_LATE_S = 2 * _LOOK_S


class KeysError(OSError):
    """The folder of the keys cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class _Ring:
    """What the folder holds: the private keys by id, the one that signs, and until when the other must stay published.

    Moments are seconds since 1970.
    """

    keys: Mapping[str, ECKey]
    signs: str
    since: float
    # 0: the other one is the next.
    other_ends: float = 0.0
    # Since when the next one is published; 0: since the beginning, so everybody has read both.
    other_since: float = 0.0


class KeyRing:
    """The keys in a folder; made there if there are none. Other processes may change them at any time."""

    def __init__(self, folder: Path, *, longest_s: float) -> None:
        """`longest_s`: the longest that a token is good. KeysError: the folder holds what is no ring."""
        self._folder = folder
        self.longest_s = longest_s
        self._looked = float("-inf")
        if not (folder / _RING).exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._locked():
                if not (folder / _RING).exists():
                    first = _new_key()
                    self._write(_Ring(first | _new_key(), next(iter(first)), time.time()))
        # Which file it was, and what stood in it: always together, as several threads look.
        self._known = self._read()

    # -- signing ----------------------------------------------------------------------------------------------------------

    def sign(self, claims: Mapping[str, Any], *, lasts_s: float) -> str:
        """A token with these claims, its id and its times. ValueError: it would last longer than a token may."""
        if not 0 < lasts_s <= self.longest_s:
            raise ValueError(f"a token may last at most {self.longest_s / 3600:g} hours (identity.longest_h)")
        self._look()
        now = int(time.time())
        times = {"iat": now, "exp": now + max(1, int(lasts_s)), "jti": secrets.token_hex(8)}
        ring = self._known[1]
        signs = ring.keys[ring.signs]
        return jwt.encode({"alg": ALGORITHM, "kid": signs.kid}, {**claims, **times}, signs)

    def published(self) -> KeySet:
        """The public keys, as they are in the folder now."""
        self._look()
        return KeySet(list(self._known[1].keys.values()))

    # -- rotating ---------------------------------------------------------------------------------------------------------

    def rotate(self, now: float | None = None) -> bool:
        """Lets the next key sign. False: it is not published for long enough, or the key before is still needed."""
        moment = time.time() if now is None else now
        with self._locked():
            _, ring = self._read()
            if ring.other_ends or (ring.other_since and moment < ring.other_since + KNOWN_S):
                return False
            following = next(kid for kid in ring.keys if kid != ring.signs)
            self._write(_Ring(ring.keys, following, moment, moment + self.longest_s + _LATE_S))
        self._looked = float("-inf")
        return True

    def tidy(self, now: float | None = None) -> bool:
        """Removes the key before, if its last token has ended, and makes the next. True: it did."""
        moment = time.time() if now is None else now
        # Looked at before it is locked: a folder that may only be read (a mounted secret) has no lock, and mostly needs none.
        _, before = self._read()
        if not before.other_ends or moment < before.other_ends:
            return False
        with self._locked():
            _, ring = self._read()
            if not ring.other_ends or moment < ring.other_ends:
                return False
            keys = {ring.signs: ring.keys[ring.signs], **_new_key()}
            self._write(_Ring(keys, ring.signs, ring.since, other_since=moment))
        self._looked = float("-inf")
        return True

    @property
    def signing(self) -> str:
        """The id of the key that signs."""
        self._look()
        return self._known[1].signs

    @property
    def since(self) -> float:
        """Since when it signs, in seconds since 1970."""
        self._look()
        return self._known[1].since

    # -- the folder -------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Reads the folder again if it has changed, at most once a second."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        stat = (self._folder / _RING).stat()
        if (stat.st_ino, stat.st_mtime_ns) != self._known[0]:
            self._known = self._read()

    def look_again(self) -> None:
        """Reads the folder at the next use, however short ago it was read: a token names an unknown key."""
        self._looked = min(self._looked, time.monotonic() - _LOOK_S)

    def _read(self) -> tuple[tuple[int, int], _Ring]:
        path = self._folder / _RING
        try:
            with path.open(encoding="utf-8") as file:
                stat = os.fstat(file.fileno())
                said = json.load(file)
            keys = {one["kid"]: ECKey.import_key(one) for one in said["keys"]}
            # A ring of an earlier release does not say since when its next key is published.
            other_since = float(said.get("other_since", 0))
            ring = _Ring(keys, said["signs"], float(said["since"]), float(said["other_ends"]), other_since)
            if ring.signs not in keys:
                raise KeyError(ring.signs)
        except (ValueError, KeyError, TypeError) as error:
            raise KeysError(
                f"{path} is no ring of keys ({error}): put the right one back, or remove it, and all tokens end"
            ) from None
        return (stat.st_ino, stat.st_mtime_ns), ring

    def _write(self, ring: _Ring) -> None:
        """Public keys first: a key must be published before it signs."""
        public = {"keys": [{**key.as_dict(private=False), "use": "sig", "alg": ALGORITHM} for key in ring.keys.values()]}
        private = {
            "keys": [key.as_dict(private=True) for key in ring.keys.values()],
            "signs": ring.signs,
            "since": ring.since,
            "other_ends": ring.other_ends,
            "other_since": ring.other_since,
        }
        for name, content in ((PUBLISHED, public), (_RING, private)):
            draft = self._folder / f".{name}.{os.getpid()}"
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self._folder / name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _new_key() -> dict[str, ECKey]:
    """A new key, by its id."""
    kid = secrets.token_hex(8)
    return {kid: ECKey.generate_key("P-256", {"kid": kid}, private=True)}
