"""Rest: answered when nothing is in progress and every party is at rest, and not before."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from citybrain.mesh.runtime.activity import Activity


def test_what_does_nothing_is_at_rest() -> None:
    assert Activity().at_rest
    asyncio.run(Activity().rest())


def test_rest_waits_for_work_and_for_every_party() -> None:
    async def test() -> None:
        activity = Activity()
        behind = True
        leave = activity.watch(lambda: not behind)
        with activity.working():
            rest = asyncio.ensure_future(activity.rest())
            behind = False
            activity.changed()
            await asyncio.sleep(0)
            assert not rest.done()
            behind = True
        await asyncio.sleep(0)
        assert not rest.done()
        leave()
        activity.changed()
        await asyncio.wait_for(rest, 60)

    asyncio.run(test())


def test_a_party_that_forgets_to_tell_is_asked_again() -> None:
    async def test() -> None:
        activity = Activity()
        asked = 0

        def at_rest() -> bool:
            nonlocal asked
            asked += 1
            return asked > 3

        activity.watch(at_rest)
        await asyncio.wait_for(activity.rest(), 60)

    asyncio.run(test())


def test_work_that_fails_is_no_longer_in_progress() -> None:
    activity = Activity()
    try:
        with activity.working():
            raise ValueError
    except ValueError:
        pass
    assert activity.at_rest


@given(st.lists(st.booleans(), max_size=30))
def test_it_is_at_rest_exactly_when_as_much_has_ended_as_began(steps: list[bool]) -> None:
    activity = Activity()
    going = 0
    for begin in steps:
        if begin:
            activity.begin()
            going += 1
        elif going:
            activity.end()
            going -= 1
        assert activity.at_rest == (going == 0)
