"""The keys that sign own tokens: two are published at a time, and no rotation makes a token bad."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from citybrain.mesh.access.keys import KNOWN_S, PUBLISHED, KeyRing, KeysError
from citybrain.mesh.access.verifying import OwnIssuer, Verifier
from citybrain.mesh.errors import Unauthenticated

CLAIMS = {"iss": "us", "aud": "here", "sub": "somebody"}


def ring_in(folder: Path, longest_s: float = 3600) -> KeyRing:
    return KeyRing(folder, longest_s=longest_s)


def verify(folder: Path, token: str) -> str:
    """Whom the token names, as a process sees it that has just begun."""
    return asyncio.run(Verifier([OwnIssuer(ring_in(folder), "us", "here")]).verify(token)).subject


def test_the_keys_of_a_folder_are_made_once_by_whoever_comes_first(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        rings = list(pool.map(lambda _: ring_in(tmp_path / "identity"), range(8)))
    assert len({ring.signing for ring in rings}) == 1
    assert all(verify(tmp_path / "identity", ring.sign(CLAIMS, lasts_s=60)) == "somebody" for ring in rings)


def test_nobody_else_reads_the_private_keys_and_the_published_file_has_none(tmp_path: Path) -> None:
    folder = tmp_path / "identity"
    ring_in(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "ring.json").stat().st_mode) == 0o600
    published = json.loads((folder / PUBLISHED).read_text())["keys"]
    assert len(published) == 2
    assert all("d" not in key and key["alg"] == "ES256" and key["use"] == "sig" for key in published)


def test_a_token_is_good_before_and_after_a_rotation_and_the_next_key_was_published_before_it_signs(tmp_path: Path) -> None:
    ring = ring_in(tmp_path)
    before, known = ring.sign(CLAIMS, lasts_s=60), {key.kid for key in ring.published().keys}
    assert ring.rotate()
    after = ring.sign(CLAIMS, lasts_s=60)
    assert ring.signing in known and {key.kid for key in ring.published().keys} == known
    assert [verify(tmp_path, token) for token in (before, after)] == ["somebody"] * 2


def test_another_rotation_waits_until_the_last_token_of_the_key_before_has_ended(tmp_path: Path) -> None:
    ring = ring_in(tmp_path, longest_s=100)
    first = ring.signing
    assert ring.rotate() and not ring.rotate()
    # Another process signs with the key before until it has seen that it does not sign any more.
    assert not ring.tidy(time.time() + 101)
    assert ring.tidy(time.time() + 103)
    kids = {key.kid for key in ring.published().keys}
    assert len(kids) == 2 and first not in kids
    assert not ring.rotate(time.time() + 103 + KNOWN_S - 1), "nobody knows the new key yet"
    assert ring.rotate(time.time() + 104 + KNOWN_S) and ring.signing in kids


def test_a_token_of_a_key_that_is_gone_is_refused(tmp_path: Path) -> None:
    ring = ring_in(tmp_path, longest_s=100)
    token = ring.sign(CLAIMS, lasts_s=100)
    ring.rotate()
    ring.tidy(time.time() + 103)
    with pytest.raises(Unauthenticated):
        verify(tmp_path, token)


def test_another_process_signs_with_the_new_key_and_knows_it_at_once(tmp_path: Path) -> None:
    one, other = ring_in(tmp_path, 100), ring_in(tmp_path, 100)
    verifier = Verifier([OwnIssuer(other, "us", "here")])
    # It has read the folder just now, and would not look again for a second.
    assert asyncio.run(verifier.verify(one.sign(CLAIMS, lasts_s=60))).subject == "somebody"
    one.rotate()
    one.tidy(time.time() + 103)
    one.rotate(time.time() + 104 + KNOWN_S)
    assert asyncio.run(verifier.verify(one.sign(CLAIMS, lasts_s=60))).subject == "somebody"


@pytest.mark.parametrize("lasts_s", [0, -1, 3601])
def test_a_token_lasts_for_some_time_and_never_longer_than_its_key_stays(tmp_path: Path, lasts_s: float) -> None:
    with pytest.raises(ValueError, match=r"at most 1 hours \(identity.longest_h\)"):
        ring_in(tmp_path).sign(CLAIMS, lasts_s=lasts_s)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"keys": [], "signs": "a", "since": 0, "other_ends": 0}', "no json"])
def test_a_folder_with_something_else_is_refused_with_what_to_do(tmp_path: Path, content: str) -> None:
    ring_in(tmp_path)
    (tmp_path / "ring.json").write_text(content)
    with pytest.raises(KeysError, match="put the right one back, or remove it"):
        ring_in(tmp_path)


def test_where_no_key_has_ended_looking_after_them_writes_nothing_so_the_folder_may_be_a_mounted_secret(tmp_path: Path) -> None:
    ring = ring_in(tmp_path)
    (tmp_path / "lock").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert ring.tidy() is False
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("looks_after", [KeyRing.rotate, KeyRing.tidy])
def test_a_process_that_looks_after_keys_in_vain_still_learns_what_another_one_changed(
    tmp_path: Path, looks_after: Callable[[KeyRing], bool]
) -> None:
    ring, other = ring_in(tmp_path), ring_in(tmp_path)
    first = ring.signing
    assert other.rotate()
    # It reads the folder to decide, and finds nothing to do.
    assert not looks_after(ring)
    ring.look_again()
    assert ring.signing == other.signing != first
