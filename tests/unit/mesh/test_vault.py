"""What is personal is sealed wherever a service keeps it, open to who may see it, and gone with its person (ES-12)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import grpc.aio
import pytest
from citybrain.personal.v1.personal_pb2 import Cipher, PersonErased, Sealed
from citybrain.probe.v1 import events_pb2 as ev
from citybrain.probe.v1 import probe_service_pb2 as pb
from citybrain.probe.v1.probe_service_pb2_grpc import ProbeServiceStub

from citybrain.event_store.sealing import SealBroken
from citybrain.event_store.store import StoredEvent, StoreError
from citybrain.mesh.errors import Refused
from citybrain.mesh.personal.erasure import UnknownPerson, erase
from citybrain.mesh.personal.fields import NobodysData
from citybrain.mesh.personal.vault import Vault, lay_down
from citybrain.mesh.runtime import context
from citybrain.mesh.runtime.clock import DrivenClock
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.service import Follow, Heard, Service, Streams, View, rpc, subscribe
from citybrain.mesh.settings.values import Personal, Settings
from citybrain.mesh.storage.embedded import key_file
from citybrain.mesh.testing.parts import Parts, on_parts
from citybrain.mesh.testing.setting import event_of

PROBE = "citybrain.probe.v1.ProbeService"
TEXT = "绝密的电话"
WHO = "per-0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Said:
    """A row: who said what."""

    who: str
    said: str | None
    open: str


def last(row: Said | None, event: Heard) -> Said | None:
    assert isinstance(event.data, ev.Told)
    return Said(event.data.who_id, event.data.text or None, event.data.key)


def evolve(texts: tuple[str, ...], event: Any) -> tuple[str, ...]:
    return (*texts, event.text)


class Probe(Service):
    """Keeps what it is told in every place there is."""

    name = "probe"
    heard: ClassVar[list[tuple[str, tuple[str, ...], tuple[str, ...]]]] = []
    names = Streams("told", tuple, evolve, snapshot_every=1)
    rows = View((ev.Told,), lambda event: event.data.key, last, row=Said, personal={"said": "who"})  # type: ignore[attr-defined]
    seen = View((ev.Told,), lambda event: event.data.key, last, row=Said)  # type: ignore[attr-defined]

    @subscribe(ev.Told)
    def note(self, event: Heard) -> None:
        self.heard.append((event.data.text, event.persons, event.erased))  # type: ignore[attr-defined]

    @rpc
    def FollowWritten(self, request: pb.FollowWrittenRequest) -> Follow:
        return Follow(purpose="all", types=(ev.Told, PersonErased))


class Told:
    """A mesh that was told something about somebody."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.vault = parts.process.vault
        Probe.heard.clear()
        self.provided: dict[str, Any] = {p.attr_name: p for p in parts.add(Probe, PROBE).dependencies}
        parts.start()
        self.tell("r1", TEXT)

    def tell(self, request_id: str, text: str, who: str = WHO) -> Any:
        context.enter(context.Call("tester", "city.Test/Tell", request_id))
        told = ev.Told(key="k", who_id=who, text=text)
        answer = self.provided["names"].handle("k", lambda now: [told], lambda now, mine: (now, [m.text for m in mine]))
        wait(self.parts.process.activity.rest())
        return answer

    def follow(self, clearance: str, count: int = 1) -> list[Any]:
        async def read() -> list[Any]:
            events: list[Any] = []
            async with grpc.aio.insecure_channel(self.parts.address) as channel:
                metadata = [self.parts.bearer("district x", clearance=clearance)]
                call = ProbeServiceStub(channel).FollowWritten(pb.FollowWrittenRequest(), metadata=metadata)
                while len(events) < count:
                    events += (await call.read()).events
            return events

        return wait(read())

    def erase(self) -> Any:
        """As another process would: this one has to find out."""
        receipt = wait(self._erase(WHO))
        wait(self.parts.process.activity.rest())
        return receipt

    async def _erase(self, person: str) -> Any:
        others = key_file(self.parts.process.settings)
        try:
            return await erase(self.parts.store, others, person, actor="tester")
        finally:
            others.close()


def told(tmp_path: Path, test: Callable[[Told], None]) -> None:
    on_parts(tmp_path, lambda parts: test(Told(parts)), clock=DrivenClock())


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_nothing_personal_stands_in_any_file_and_the_service_sees_all_of_it(tmp_path: Path) -> None:
    def test(city: Told) -> None:
        assert city.tell("r2", f"{TEXT} 2") == ((TEXT, f"{TEXT} 2"), [f"{TEXT} 2"])
        assert city.tell("r1", "another text") == ((TEXT,), [TEXT]), "a retry is answered from what was sealed"
        assert city.provided["rows"].get("k") == Said(WHO, f"{TEXT} 2", "k")
        assert city.provided["rows"].scan() == [("k", Said(WHO, f"{TEXT} 2", "k"))]
        assert Probe.heard == [(TEXT, (WHO,), ()), (f"{TEXT} 2", (WHO,), ())]
        kept = everything(tmp_path)
        assert WHO.encode() in kept
        assert TEXT.encode() not in kept and TEXT.encode("unicode_escape") not in kept

    told(tmp_path, test)


def test_a_view_that_does_not_say_where_it_keeps_what_is_personal_is_not_given_it(tmp_path: Path) -> None:
    told(tmp_path, lambda city: _equal(city.provided["seen"].get("k"), Said(WHO, None, "k")))


def test_a_state_that_holds_something_personal_is_kept_in_no_snapshot(tmp_path: Path) -> None:
    def test(city: Told) -> None:
        snapshots = city.parts.process.engine.snapshots
        assert wait(snapshots.newest("probe/told-k")) is None

    told(tmp_path, test)


def test_a_follower_below_the_clearance_never_gets_what_is_personal_and_one_that_may_see_it_is_noted_first(
    tmp_path: Path,
) -> None:
    def test(city: Told) -> None:
        (seen,) = city.follow(clearance="INTERNAL")
        shown = ev.Told.FromString(seen.data.value)
        assert (shown.key, shown.who_id, shown.text) == ("k", WHO, "")
        assert wait(city.vault.keys.sent(WHO)) == []
        (seen,) = city.follow(clearance="RESTRICTED")
        assert ev.Told.FromString(seen.data.value).text == TEXT
        (sent,) = wait(city.vault.keys.sent(WHO))
        assert (sent.recipient, sent.events) == ("district x: citybrain.probe.v1.ProbeService/FollowWritten of all", 1)

    told(tmp_path, test)


def test_who_is_erased_is_gone_from_states_rows_reactions_and_streams_and_everybody_is_told(tmp_path: Path) -> None:
    def test(city: Told) -> None:
        city.follow(clearance="RESTRICTED")
        receipt = city.erase()
        assert (receipt.person, receipt.again, [one.events for one in receipt.sent]) == (WHO, False, [1])
        wait(city.vault.look())
        assert city.provided["names"].load("k") == ("",)
        assert city.provided["rows"].get("k") == Said(WHO, None, "k")
        first, second = city.follow(clearance="RESTRICTED", count=2)
        assert ev.Told.FromString(first.data.value) == ev.Told(key="k", who_id=WHO)
        assert list(first.erased) == [WHO], "a reader can tell it from what was never said"
        assert PersonErased.FromString(second.data.value).person_id == WHO
        heard = wait(city.vault.hear(wait(city.parts.store.read("probe/told-k"))))
        assert (heard[0].persons, heard[0].erased) == ((), (WHO,))

    told(tmp_path, test)


def test_every_process_forgets_who_was_erased_elsewhere_by_itself(tmp_path: Path) -> None:
    def test(city: Told) -> None:
        watching = city.parts.process.loop.create_task(city.vault.watch(look_s=0.01))
        assert city.provided["names"].known("k") == (TEXT,)
        city.erase()
        city.parts.until(lambda: city.provided["names"].known("k") == ("",))
        city.parts.until(lambda: city.vault.gone(WHO))
        watching.cancel()

    told(tmp_path, test)


def test_a_process_that_cannot_ask_who_was_erased_forgets_everybody(tmp_path: Path) -> None:
    class Blind:
        """Keys that answer nothing any more."""

        async def erased(self, after: int) -> Any:
            raise StoreError("away")

    def test(city: Told) -> None:
        assert city.vault._known and city.provided["names"]._cache
        assert city.provided["rows"].derived(len) == 1
        keys, city.vault.keys = city.vault.keys, Blind()  # type: ignore[assignment]
        watching = city.parts.process.loop.create_task(city.vault.watch(look_s=0.001, blind_s=0.01))
        city.parts.until(lambda: not city.vault._known)
        # Nor is anything left of what was made with a key, and nothing stays of what is read while nobody knows.
        names = city.provided["names"]
        assert names._cache == {} and city.provided["rows"]._derived == {}
        city.vault.keys = keys
        watching.cancel()
        assert names.load("k") == (TEXT,)
        assert city.provided["rows"].derived(len) == 1
        assert names._cache == {} and not city.vault._known and city.provided["rows"]._derived == {}
        wait(city.vault.look())
        assert names.load("k") == (TEXT,)
        assert len(names._cache) == 1 and WHO in city.vault._known

    told(tmp_path, test)


def test_what_was_made_of_rows_about_somebody_goes_with_them(tmp_path: Path) -> None:
    def test(city: Told) -> None:
        rows = city.provided["rows"]
        assert rows.derived(list)[0].said == TEXT
        city.erase()
        wait(city.vault.look())
        assert TEXT not in str(rows._derived)

    told(tmp_path, test)


@pytest.mark.parametrize("by_rows", [True, False], ids=["of rows", "of events"])
def test_what_was_being_made_of_what_somebody_said_when_they_were_erased_is_not_kept(tmp_path: Path, by_rows: bool) -> None:
    def test(city: Told) -> None:
        loop = city.parts.process.loop

        async def erased() -> None:
            await city._erase(WHO)
            await city.vault.look()

        def build(rows: list[Said]) -> list[Said]:
            asyncio.run_coroutine_threadsafe(erased(), loop).result(60)
            return rows

        def decide(texts: tuple[str, ...]) -> list[ev.Told]:
            if texts == (TEXT,):
                wait(erased())
            return [ev.Told(key="k")]

        rows, names = city.provided["rows"], city.provided["names"]
        if by_rows:
            assert rows.derived(build)[0].said == TEXT
            assert TEXT not in str(rows._derived)
        else:
            context.enter(context.Call("tester", "city.Test/Tell", "r2"))
            assert names.handle("k", decide, lambda now, _: now) == (TEXT, "")
            assert TEXT not in str(names._cache)
            assert names.load("k") == ("", "")

    told(tmp_path, test)


def test_nothing_new_is_kept_about_who_was_erased_and_a_row_that_is_folded_late_says_nothing_of_them(tmp_path: Path) -> None:
    def test(city: Told) -> None:
        city.erase()
        with pytest.raises(Refused, match=f"person {WHO} was erased"):
            city.tell("r2", TEXT)
        assert wait(city.vault.seal_texts([(WHO, "place", TEXT)])) == [None]
        with pytest.raises(NobodysData, match="does not say whose it is"):
            city.tell("r3", TEXT, who="")

    told(tmp_path, test)


def test_erasing_twice_is_once_and_nobody_is_not_erased(tmp_path: Path) -> None:
    def test(city: Told) -> None:
        first, second = city.erase(), city.erase()
        assert (first.again, second.again) == (False, True)
        assert (first.event_id, first.erased_at) == (second.event_id, second.erased_at)
        assert len(wait(city.parts.store.read(f"personal/{WHO}"))) == 1
        with pytest.raises(UnknownPerson, match="ids look like per-"):
            wait(city._erase("somebody"))

    told(tmp_path, test)


def test_an_erasure_that_a_crash_broke_off_after_the_key_went_is_told_by_the_next(tmp_path: Path) -> None:
    def test(city: Told) -> None:
        wait(city.vault.keys.destroy(WHO, 5))
        receipt = city.erase()
        assert (receipt.again, receipt.erased_at) == (True, 5)
        assert len(wait(city.parts.store.read(f"personal/{WHO}"))) == 1

    told(tmp_path, test)


@pytest.mark.parametrize("cipher", ["aes-256-gcm", "sm4-gcm"])
def test_what_a_new_person_says_is_sealed_with_the_cipher_that_is_configured(tmp_path: Path, cipher: Any) -> None:
    async def test() -> None:
        vault = Vault(key_file(Settings(data=tmp_path)), cipher)
        event = event_of(ev.Told(who_id=WHO, text=TEXT), occurred_at=1, name="e1")
        await vault.seal([(event, lay_down(event, ev.Told(key="k", who_id=WHO, text=TEXT)))])
        (part,) = Sealed.FromString(event.sealed).parts
        assert (
            part.cipher == Cipher.Value("CIPHER_" + cipher.upper().replace("-", "_"))
            and TEXT.encode() not in event.data + event.sealed
        )
        stored = StoredEvent(
            event.id, event.type, event.data, 1, "", "", "", "", "", 2, "probe/told-k", 1, 1, 1, event.sealed
        )  # fmt: skip
        (heard,) = await vault.hear([stored])
        assert heard.data == ev.Told(key="k", who_id=WHO, text=TEXT)
        vault.keys.close()

    asyncio.run(test())


def test_what_is_sealed_for_one_event_opens_in_no_other(tmp_path: Path) -> None:
    def test(city: Told) -> None:
        (stored,) = wait(city.parts.store.read("probe/told-k"))
        stored = stored._replace(id="another")
        with pytest.raises(SealBroken):
            wait(city.vault.hear([stored]))

    told(tmp_path, test)


def test_a_person_who_is_erased_while_their_key_is_asked_for_stays_erased(tmp_path: Path) -> None:
    def test(city: Told) -> None:
        vault: Vault = city.vault
        key = vault._known[WHO]
        city.erase()
        wait(vault.look())
        vault._remember({WHO: key})
        assert vault.gone(WHO)

    told(tmp_path, test)


def test_the_master_key_is_made_for_a_laptop_and_never_for_who_names_one(tmp_path: Path) -> None:
    async def opened(settings: Settings) -> None:
        key_file(settings).close()

    asyncio.run(opened(Settings(data=tmp_path)))
    assert (tmp_path / "keys" / "master.key").stat().st_mode & 0o077 == 0
    named = Settings(data=tmp_path / "other", personal=Personal(master_key=tmp_path / "gone"))
    with pytest.raises(OSError, match=r"there is no master key of personal data at .*head -c 32"):
        asyncio.run(opened(named))


def _equal(found: object, wanted: object) -> None:
    assert found == wanted
