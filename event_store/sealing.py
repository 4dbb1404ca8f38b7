"""Sealing: AES-256-GCM or SM4-GCM under a person's key. Sealed bytes are bound to their place, and open nowhere else.

Keys of persons are sealed the same way, under a master key.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from citybrain.personal.v1 import personal_pb2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, CipherAlgorithm, algorithms, modes

AES_256_GCM = personal_pb2.CIPHER_AES_256_GCM
SM4_GCM = personal_pb2.CIPHER_SM4_GCM
_KEY_BYTES = {AES_256_GCM: 32, SM4_GCM: 16}
_NONCE_BYTES = 12
_TAG_BYTES = 16


class SealBroken(Exception):
    """Sealed bytes were changed, or stand in another place, or are sealed under another key."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key and its cipher. The secret is never shown."""

    cipher: personal_pb2.Cipher
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls, cipher: personal_pb2.Cipher) -> Key:
        """A new random key."""
        return cls(cipher, secrets.token_bytes(_KEY_BYTES[cipher]))


def seal(key: Key, content: bytes, bound_to: str) -> tuple[bytes, bytes]:
    """Nonce and sealed content."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    encryptor = Cipher(_algorithm(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(bound_to.encode())
    return nonce, encryptor.update(content) + encryptor.finalize() + encryptor.tag


def unseal(key: Key, nonce: bytes, sealed: bytes, bound_to: str) -> bytes:
    """The content. SealBroken: the bytes were changed, or `bound_to` or the key is another one."""
    try:
        decryptor = Cipher(_algorithm(key), modes.GCM(nonce, sealed[-_TAG_BYTES:])).decryptor()
        decryptor.authenticate_additional_data(bound_to.encode())
        return decryptor.update(sealed[:-_TAG_BYTES]) + decryptor.finalize()
    except (InvalidTag, ValueError) as error:
        raise SealBroken(
            "something sealed does not open under its key: it was changed, or keys and log are not of one city; "
            "put both back from copies that belong together"
        ) from error


class Masters:
    """The current master key, which wraps, and others that may have wrapped some keys: an earlier one, or the next one."""

    def __init__(self, current: bytes, others: Sequence[bytes] = ()) -> None:
        self._all = [Key(AES_256_GCM, one) for one in (current, *others)]

    def wrap(self, secret: bytes, bound_to: str) -> tuple[bytes, bytes]:
        """Nonce and wrapped secret."""
        return seal(self._all[0], secret, bound_to)

    def unwrap(self, nonce: bytes, wrapped: bytes, bound_to: str) -> bytes:
        """The secret. SealBroken: none of the master keys wrapped it."""
        for master in self._all[:-1]:
            with contextlib.suppress(SealBroken):
                return unseal(master, nonce, wrapped, bound_to)
        return unseal(self._all[-1], nonce, wrapped, bound_to)

    def rewrap(self, nonce: bytes, wrapped: bytes, bound_to: str) -> tuple[bytes, bytes] | None:
        """The secret, wrapped by the current master key; None: it was already."""
        with contextlib.suppress(SealBroken):
            unseal(self._all[0], nonce, wrapped, bound_to)
            return None
        return self.wrap(self.unwrap(nonce, wrapped, bound_to), bound_to)


def _algorithm(key: Key) -> CipherAlgorithm:
    return algorithms.SM4(key.secret) if key.cipher == SM4_GCM else algorithms.AES(key.secret)
