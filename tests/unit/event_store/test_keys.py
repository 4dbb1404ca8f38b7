"""What is particular to the keys of the embedded engine: what stands in their files, and what a copy does not bring back."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citybrain.event_store.sealing import AES_256_GCM, SM4_GCM, Key, SealBroken, seal, unseal
from citybrain.event_store.sqlite.keys import SqliteKeys, read_ledger
from citybrain.event_store.store import StoreError

MASTER = b"m" * 32


def on_file(path: Path, test: Callable[[SqliteKeys], Awaitable[None]], master: bytes = MASTER, *others: bytes) -> None:
    async def run() -> None:
        keys = SqliteKeys(path, master, others)
        try:
            await asyncio.wait_for(test(keys), 60)
        finally:
            keys.close()

    asyncio.run(run())


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_no_key_and_no_looked_up_value_stands_in_the_files_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    async def test(keys: SqliteKeys) -> None:
        key = (await keys.obtain(["a"], AES_256_GCM))["a"]
        person = await keys.person("phone", "+8613800001111")
        await keys.destroy(person, 1)
        kept = everything(tmp_path)
        assert key.secret not in kept and b"13800001111" not in kept and key.secret.hex() not in repr(key)

    on_file(tmp_path / "keys" / "keys.db", test)
    for path in (tmp_path / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name


def test_the_wrapped_key_of_who_was_erased_is_in_no_file_any_more(tmp_path: Path) -> None:
    async def test(keys: SqliteKeys) -> None:
        await keys.obtain(["a", "b"], AES_256_GCM)
        (wrapped,) = keys._db.execute("SELECT wrapped FROM keys WHERE person = 'a'").fetchone()
        assert wrapped in everything(tmp_path)
        await keys.destroy("a", 1)
        assert wrapped not in everything(tmp_path)

    on_file(tmp_path / "keys.db", test)


def test_a_copy_of_the_keys_that_is_put_back_brings_nobody_back(tmp_path: Path) -> None:
    path, copy = tmp_path / "city" / "keys.db", tmp_path / "copy.db"

    async def before(keys: SqliteKeys) -> None:
        await keys.obtain(["a", "b"], AES_256_GCM)
        await keys.copy_to(copy)
        (made,) = await keys.copies()
        erasure = await keys.destroy("a", made + 1)
        assert erasure.at > made

    async def after(keys: SqliteKeys) -> None:
        found = await keys.find(["a", "b"])
        assert found["a"] is None and found["b"] is not None
        assert [erasure.person for erasure in await keys.erased(0)] == ["a"]

    on_file(path, before)
    for file in path.parent.glob("keys.db*"):
        file.unlink()
    shutil.copy(copy, path)
    on_file(path, after)


def test_a_line_that_a_crash_cut_short_hides_no_erasure_after_it(tmp_path: Path) -> None:
    (tmp_path / "erased.jsonl").write_text('\n{"person": "z", "at": 1}\n\n{"pers', encoding="utf-8")

    async def test(keys: SqliteKeys) -> None:
        await keys.destroy("a", 5)
        assert read_ledger(tmp_path / "erased.jsonl") == [("z", 1), ("a", 5)]
        assert [erasure.person for erasure in await keys.erased(0)] == ["z", "a"]

    on_file(tmp_path / "keys.db", test)


def test_another_master_key_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    async def test(keys: SqliteKeys) -> None:
        await keys.obtain(["a"], AES_256_GCM)

    on_file(tmp_path / "keys.db", test)
    with pytest.raises(OSError, match="wrapped by another master key"):
        SqliteKeys(tmp_path / "keys.db", b"n" * 32)


def test_a_file_from_before_the_secret_of_look_ups_stood_in_it_leads_to_the_same_persons(tmp_path: Path) -> None:
    found: list[str] = []

    async def look(keys: SqliteKeys) -> None:
        await keys.obtain(["a"], AES_256_GCM)
        found.append(await keys.person("phone", "1"))
        keys._db.execute("DELETE FROM secrets")

    on_file(tmp_path / "keys.db", look)
    on_file(tmp_path / "keys.db", look)
    on_file(tmp_path / "keys.db", look, b"n" * 32, MASTER)
    assert len(set(found)) == 1
    with pytest.raises(OSError, match="wrapped by another master key"):
        SqliteKeys(tmp_path / "keys.db", b"n" * 32)


def test_keys_that_cannot_be_used_are_told_as_an_error_of_the_store(tmp_path: Path) -> None:
    async def test(keys: SqliteKeys) -> None:
        keys._db.execute("DROP TABLE keys")
        with pytest.raises(StoreError, match=r"keys\.db cannot be used: no such table"):
            await keys.find(["a"])

    on_file(tmp_path / "keys.db", test)


def test_where_one_key_cannot_be_wrapped_anew_none_is_and_the_next_work_goes_on(tmp_path: Path) -> None:
    def wrapped(keys: SqliteKeys) -> list[tuple[str, bytes]]:
        return keys._db.execute("SELECT person, wrapped FROM keys ORDER BY person").fetchall()

    async def before(keys: SqliteKeys) -> None:
        await keys.obtain(["a", "b", "c"], AES_256_GCM)
        keys._db.execute("UPDATE keys SET wrapped = ? WHERE person = 'b'", (bytes(48),))

    async def test(keys: SqliteKeys) -> None:
        as_before = wrapped(keys)
        with pytest.raises(SealBroken):
            await keys.rewrap()
        assert wrapped(keys) == as_before
        assert await keys.obtain(["d"], AES_256_GCM)

    on_file(tmp_path / "keys.db", before)
    on_file(tmp_path / "keys.db", test, b"n" * 32, MASTER)


@pytest.mark.parametrize("cipher", [AES_256_GCM, SM4_GCM])
def test_what_is_sealed_opens_under_its_key_in_its_place_unchanged_and_nowhere_else(cipher: int) -> None:
    @given(content=st.binary(max_size=300), place=st.text(max_size=20), bit=st.integers(0, 10**6))
    def holds(content: bytes, place: str, bit: int) -> None:
        key = Key.new(cipher)  # type: ignore[arg-type]
        nonce, sealed = seal(key, content, place)
        assert unseal(key, nonce, sealed, place) == content
        changed = bytearray(sealed)
        changed[bit // 8 % len(changed)] ^= 1 << bit % 8
        wrong = [
            (key, nonce, bytes(changed), place),
            (key, nonce, sealed, place + "x"),
            (Key.new(cipher), nonce, sealed, place),  # type: ignore[arg-type]
            (key, os.urandom(12), sealed, place),
            (key, nonce, sealed[:8], place),
        ]
        for attempt in wrong:
            with pytest.raises(SealBroken):
                unseal(*attempt)

    holds()


def test_an_erasure_is_on_the_disk_where_no_copy_of_the_keys_takes_it_back_before_the_key_is_destroyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, list[tuple[str, int]], bool]] = []
    real = os.fsync

    async def test(keys: SqliteKeys) -> None:
        await keys.obtain(["a"], AES_256_GCM)

        def look(file: int) -> None:
            real(file)
            name = Path(f"/proc/self/fd/{file}").readlink().name
            seen.append((name, read_ledger(tmp_path / "erased.jsonl"), keys._key("a") is not None))

        monkeypatch.setattr(os, "fsync", look)
        await keys.destroy("a", 5)
        assert seen == [("erased.jsonl", [("a", 5)], True)]
        assert keys._db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert (await keys.find(["a"]))["a"] is None

    on_file(tmp_path / "keys.db", test)
