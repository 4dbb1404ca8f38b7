"""What a store of keys promises (ES-12). One joins by a subclass that opens it; the second time, as another process would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import ClassVar

import pytest

from citybrain.event_store.keys import KeysMissing, KeyStore, PersonErased, Sent
from citybrain.event_store.sealing import AES_256_GCM, SM4_GCM
from citybrain.event_store.store import Features

Test = Callable[[KeyStore], Awaitable[None]]


class KeyStoreContract:
    """ES-12, as far as keys go."""

    features: ClassVar[Features]

    def keys(self, folder: Path) -> AbstractAsyncContextManager[KeyStore]:
        """Opens the place in a folder."""
        raise NotImplementedError

    def others(self, folder: Path, keys: KeyStore) -> AbstractAsyncContextManager[KeyStore]:
        """What another process has open of the same place; the very one where only one process may."""
        return self.keys(folder) if self.features.several_processes else nullcontext(keys)

    def on_keys(self, folder: Path, test: Test) -> None:
        async def run() -> None:
            async with self.keys(folder) as keys:
                await asyncio.wait_for(test(keys), 60)

        asyncio.run(run())

    def test_es12_a_person_keeps_the_key_and_the_cipher_they_began_with(self, tmp_path: Path) -> None:
        async def test(keys: KeyStore) -> None:
            first = await keys.obtain(["a", "b"], SM4_GCM)
            assert len(first["a"].secret) == 16 and first["a"] != first["b"]
            assert await keys.obtain(["a"], AES_256_GCM) == {"a": first["a"]}
            assert len((await keys.obtain(["c"], AES_256_GCM))["c"].secret) == 32
            async with self.others(tmp_path, keys) as others:
                assert await others.find(["a", "b"]) == first

        self.on_keys(tmp_path, test)

    def test_es12_two_that_need_a_persons_key_first_get_the_same(self, tmp_path: Path) -> None:
        async def test(keys: KeyStore) -> None:
            async with self.others(tmp_path, keys) as others:
                found = await asyncio.gather(*(one.obtain(["a"], AES_256_GCM) for one in (keys, others) * 10))
            assert all(one == found[0] for one in found)

        self.on_keys(tmp_path, test)

    def test_es12_who_was_erased_has_no_key_for_ever_and_gets_none_again(self, tmp_path: Path) -> None:
        async def test(keys: KeyStore) -> None:
            await keys.obtain(["a", "b"], AES_256_GCM)
            erasure = await keys.destroy("a", 7)
            assert (erasure.person, erasure.at) == ("a", 7)
            assert await keys.destroy("a", 9) == erasure, "the first time counts"
            assert (await keys.find(["a"]), await keys.knows("a"), await keys.knows("b")) == ({"a": None}, False, True)
            with pytest.raises(PersonErased, match="a was erased"):
                await keys.obtain(["b", "new", "a"], AES_256_GCM)
            assert not await keys.knows("new"), "all or none"
            async with self.others(tmp_path, keys) as others:
                assert await others.erased(0) == [erasure]
                await others.destroy("b", 8)
            assert [one.person for one in await keys.erased(erasure.number)] == ["b"]

        self.on_keys(tmp_path, test)

    def test_es12_a_key_that_is_missing_is_not_taken_for_one_that_was_destroyed(self, tmp_path: Path) -> None:
        async def test(keys: KeyStore) -> None:
            with pytest.raises(KeysMissing, match="no key of person a, and they were never erased"):
                await keys.find(["a"])

        self.on_keys(tmp_path, test)

    def test_es12_a_value_leads_to_one_person_until_they_are_erased(self, tmp_path: Path) -> None:
        async def test(keys: KeyStore) -> None:
            first = await keys.person("phone", "+8613800001111")
            assert first.startswith("per-") and await keys.knows(first)
            async with self.others(tmp_path, keys) as others:
                assert await others.person("phone", "+8613800001111") == first
            assert await keys.person("card", "+8613800001111") != first
            assert await keys.person("phone", "+8613800001112") != first
            await keys.destroy(first, 1)
            assert await keys.person("phone", "+8613800001111") != first, "who comes again is somebody new"

        self.on_keys(tmp_path, test)

    def test_es12_whether_a_value_leads_to_somebody_is_told_without_making_anybody(self, tmp_path: Path) -> None:
        phone, card = ("phone", "+8613800001111"), ("card", "+8613800001111")

        async def test(keys: KeyStore) -> None:
            assert await keys.known_person(*phone) == ""
            assert await keys.known_person(*phone) == "", "asking makes nobody"
            first = await keys.person(*phone)
            assert (await keys.known_person(*phone), await keys.known_person(*card)) == (first, "")
            second = await keys.person(*card)
            assert (await keys.known_person(*phone), await keys.known_person(*card)) == (first, second)
            await keys.destroy(first, 1)
            assert (await keys.known_person(*phone), await keys.known_person(*card)) == ("", second)

        self.on_keys(tmp_path, test)

    def test_es12_to_whom_a_persons_data_went_is_counted(self, tmp_path: Path) -> None:
        async def test(keys: KeyStore) -> None:
            await keys.note_sent({"a": 2, "b": 1}, "district x", 5)
            await keys.note_sent({"a": 1}, "district x", 9)
            await keys.note_sent({"a": 1}, "district y", 7)
            assert await keys.sent("a") == [Sent("district x", 3, 5, 9), Sent("district y", 1, 7, 7)]
            assert await keys.sent("nobody") == []

        self.on_keys(tmp_path, test)


OLD, NEW = b"o" * 32, b"n" * 32


class MasterKeyContract:
    """Another master key takes the place of the one before, while both are known."""

    def keys_under(self, folder: Path, master: bytes, *others: bytes) -> AbstractAsyncContextManager[KeyStore]:
        """Opens the place in a folder with some master keys."""
        raise NotImplementedError

    def test_es12_keys_are_wrapped_anew_part_by_part_and_open_with_the_new_master_key_alone(self, tmp_path: Path) -> None:
        async def test() -> None:
            persons = [f"p{number}" for number in range(7)]
            async with self.keys_under(tmp_path, OLD) as keys:
                before = await keys.obtain(persons, AES_256_GCM)
                found = await keys.person("phone", "1")
                await keys.destroy("p3", 1)
            async with self.keys_under(tmp_path, NEW, OLD) as keys, self.keys_under(tmp_path, OLD, NEW) as others:
                assert (await keys.rewrap(limit=3)).looked_at == 3
                # Broken off there; whoever runs meanwhile knows both.
                for either in (keys, others):
                    assert await either.find(persons) == before | {"p3": None}
                    assert await either.person("phone", "1") == found
                before |= await keys.obtain(["new"], SM4_GCM)
                parts = [await keys.rewrap(limit=3)]
                while parts[-1].reached:
                    parts.append(await keys.rewrap(parts[-1].reached, 3))
                assert 3 <= sum(part.changed for part in parts) <= 4, "what was done before is left as it is"
                assert sum(part.changed for part in [await keys.rewrap()]) == 0
            async with self.keys_under(tmp_path, NEW) as keys:
                assert await keys.find([*persons, "new"]) == before | {"p3": None}
                assert await keys.person("phone", "1") == found
            with pytest.raises(OSError, match="wrapped by another master key"):
                async with self.keys_under(tmp_path, OLD):
                    pass

        asyncio.run(asyncio.wait_for(test(), 60))
