"""What the audit trail promises on every engine. One joins by a subclass that opens it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from citybrain.mesh.audit import chain
from citybrain.mesh.audit.entries import Entry, TrailAway
from citybrain.mesh.audit.reading import Found, Place, Query, records
from citybrain.mesh.audit.trail import ChainedTrail
from citybrain.mesh.audit.verifying import verify
from citybrain.mesh.storage.engine import Engine

Test = Callable[[Engine], Awaitable[None]]
MORNING = 1_767_600_000_000_000
WANG = Entry(subject="wang", method="citybrain.health.v1.HealthService/ReserveBed", persons=("per-0123456789abcdef",))
LI = Entry(subject="li", method="citybrain.health.v1.HealthService/ListBeds", allowed=False, code="PERMISSION_DENIED")


def trail_on(engine: Engine, moment: int = MORNING) -> ChainedTrail:
    return ChainedTrail(engine.store, lambda: moment, now=lambda: moment)


async def found(engine: Engine, query: Query, number: int) -> list[Found]:
    """Records, as soon as there are so many: some engines tell their log a moment later."""
    while True:
        await engine.up_to_now()
        listed = [one async for one in records(engine.store, query) if isinstance(one, Found)]
        if len(listed) >= number:
            return listed
        await asyncio.sleep(0.02)


class AuditContract:
    """The trail, reading it and verifying it."""

    def engine(self, folder: Path) -> AbstractAsyncContextManager[Engine]:
        """Opens the engine."""
        raise NotImplementedError

    def on_engine(self, folder: Path, test: Test) -> None:
        async def run() -> None:
            async with self.engine(folder) as engine:
                await asyncio.wait_for(test(engine), 60)

        asyncio.run(run())

    def test_what_was_kept_is_there_when_it_is_told_and_what_was_noted_when_the_trail_is_closed(self, tmp_path: Path) -> None:
        async def test(engine: Engine) -> None:
            trail = trail_on(engine)
            trail.note(replace(WANG, request_id="noted"))
            await trail.keep(replace(WANG, request_id="kept"))
            ((name, end),) = [item for item in (await verify(engine.store)).chains.items() if item[0] != chain.ANCHORS]
            assert (end.records, end.anchored, end.closed) == (2, 0, False)
            trail.note(LI)
            await trail.close()
            report = await verify(engine.store)
            assert report.sound
            assert (report.chains[name].records, report.chains[name].closed) == (3, True)
            assert report.chains[name].anchored == report.chains[name].batches

        self.on_engine(tmp_path, test)

    def test_records_are_found_by_subject_method_person_and_refusal_and_a_reader_goes_on_from_any_place(
        self, tmp_path: Path
    ) -> None:
        async def test(engine: Engine) -> None:
            for _ in range(3):
                trail = trail_on(engine)
                for number in range(4):
                    trail.note(replace(WANG, request_id=str(number)))
                    await trail.keep(LI)
                await trail.close()
            everything = await found(engine, Query(), 24)
            assert len(everything) == 24
            for query in (Query(subject="wang"), Query(method="ReserveBed"), Query(person=WANG.persons[0])):
                assert {one.record.subject for one in await found(engine, query, 12)} == {"wang"}
            assert {one.record.code for one in await found(engine, Query(refused=True), 12)} == {"PERMISSION_DENIED"}
            assert await found(engine, Query(subject="wan"), 0) == []
            for number in (0, 1, 7, 23):
                place = everything[number].place
                rest = [one async for one in records(engine.store, Query(), place) if isinstance(one, Found)]
                assert rest == everything[number + 1 :]
            (*_, last) = [one async for one in records(engine.store, Query())]
            assert isinstance(last, Place) and [one async for one in records(engine.store, Query(), last)] == []

        self.on_engine(tmp_path, test)

    def test_processes_on_one_store_have_chains_of_their_own_and_one_chain_of_anchors(self, tmp_path: Path) -> None:
        async def test(engine: Engine) -> None:
            trails = [trail_on(engine) for _ in range(4)]
            await asyncio.gather(*(trail.keep(WANG) for trail in trails for _ in range(5)))
            await asyncio.gather(*(trail.close() for trail in trails))
            report = await verify(engine.store)
            assert report.sound and len(report.chains) == 5
            assert sum(one.records for one in report.chains.values()) == 20

        self.on_engine(tmp_path, test)

    def test_the_chain_of_a_process_that_ended_without_anchoring_it_is_anchored_by_the_next(self, tmp_path: Path) -> None:
        async def test(engine: Engine) -> None:
            crashed = trail_on(engine)
            await crashed.keep(WANG)
            await crashed.keep(WANG)
            crashed._writing.cancel()
            later = trail_on(engine)
            await later._looking_after
            await later.close()
            report = await verify(engine.store)
            assert report.sound
            assert [one.anchored for name, one in report.chains.items() if name != chain.ANCHORS] == [2]

        self.on_engine(tmp_path, test)

    def test_what_somebody_else_wrote_into_a_chain_is_found(self, tmp_path: Path) -> None:
        async def test(engine: Engine) -> None:
            trail = trail_on(engine)
            await trail.keep(WANG)
            (name,) = (await verify(engine.store)).chains.keys() - {chain.ANCHORS}
            forged = chain.batch(name, chain.Place(1, b"x" * 32), chain.Place(), MORNING, [])
            await engine.store.append(chain.stream_of(name), [forged], 1)
            with pytest.raises(TrailAway):
                await trail.keep(LI)
            await trail.close()
            report = await verify(engine.store)
            assert {(one.chain, one.first) for one in report.findings} == {(name, 2)}
            assert sum(one.records for one in report.chains.values()) == 2

        self.on_engine(tmp_path, test)
