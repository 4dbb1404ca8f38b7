"""Lists of sagas, newest first: exactly those that are asked for, whatever happened to them before."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from citybrain.sagas.listing import SagaRow, age
from citybrain.sagas.ordered import Ordered, Wanted

STATES, DISTRICTS, WORKFLOWS, INCIDENTS = ("running", "completed"), ("", "east", "west"), ("a", "b"), ("", "i1", "i2", "s3")

# For which incident a saga began never changes.
Row = st.builds(
    lambda number, started_at, state, district, workflow: SagaRow(
        f"s{number}", started_at, state, district=district, workflow=workflow, incident=INCIDENTS[number % 4] or f"s{number}"
    ),
    st.integers(0, 12),
    st.integers(0, 5),
    *map(st.sampled_from, (STATES, DISTRICTS, WORKFLOWS)),
)
# Each filter is used now and then: all of them together would leave nothing.
Question = st.builds(
    Wanted,
    st.none() | st.sets(st.sampled_from(STATES), min_size=1),
    st.none() | st.sets(st.sampled_from(DISTRICTS), min_size=1),
    st.sampled_from(("", "", "", *WORKFLOWS)),
    st.sampled_from(("", "", "", "", "", *INCIDENTS, "s1", "nothing")),
    st.sampled_from((0, 0, 0, 1, 2, 3)),
    st.none() | st.integers(0, 6),
)
OF_ANOTHER = SagaRow("s1", 1, incident="i1")


def is_wanted(row: SagaRow, wanted: Wanted) -> bool:
    """The question, word by word."""
    return (
        (wanted.states is None or row.state in wanted.states)
        and (wanted.districts is None or row.district in wanted.districts)
        and wanted.workflow in ("", row.workflow)
        and wanted.incident in ("", row.incident)
        and row.started_at >= wanted.began_from
        and (wanted.began_before is None or row.started_at < wanted.began_before)
    )


@settings(max_examples=300)
@example([OF_ANOTHER], Wanted(incident="s1"), None)
@example([OF_ANOTHER], Wanted(incident="i1"), None)
@example([OF_ANOTHER], Wanted(began_before=1), None)
@example([OF_ANOTHER], Wanted(began_from=1), None)
@example([OF_ANOTHER], Wanted(began_from=2), None)
@given(st.lists(Row, max_size=40), Question, st.none() | st.tuples(st.integers(0, 6), st.sampled_from(("", "s1", "s3"))))
def test_a_list_has_those_that_are_wanted_and_no_others_newest_first_and_goes_on_after_any_of_them(
    rows: list[SagaRow], wanted: Wanted, after: tuple[int, str] | None
) -> None:
    ordered = Ordered(rows[:5])
    now: dict[str, SagaRow] = {}
    for row in sorted(rows[:5], key=age):
        now[row.saga_id] = row
    for row in rows[5:]:
        now[row.saga_id] = row
        ordered.put(row)
    expected = sorted((row for row in now.values() if is_wanted(row, wanted)), key=age, reverse=True)
    assert list(ordered.find(wanted, after)) == [row for row in expected if after is None or age(row) < after]
    assert all(ordered.get(row.saga_id) == now[row.saga_id] for row in rows)


@settings(max_examples=200)
@given(st.lists(Row, max_size=20), st.sets(st.integers(0, 12)), Question, st.integers(0, 7))
def test_what_left_the_lists_is_in_none_and_what_ended_long_ago_is_found(
    rows: list[SagaRow], gone: set[int], wanted: Wanted, before: int
) -> None:
    ordered = Ordered()
    # Some ended much later than they began.
    rows = [replace(row, since=row.started_at + 2 * (row.started_at % 3)) for row in rows]
    for row in rows:
        ordered.put(row)
    for number in gone:
        ordered.drop(f"s{number}")
        ordered.drop(f"s{number}")
    left = {row.saga_id: row for row in rows if row.saga_id not in {f"s{number}" for number in gone}}
    found = list(ordered.find(wanted))
    assert found == sorted((row for row in left.values() if is_wanted(row, wanted)), key=age, reverse=True)
    old = {row.saga_id for row in left.values() if row.state == "completed" and max(row.started_at, row.since) < before}
    assert set(ordered.ended("completed", before)) == old
    assert [ordered.get(one) for one in old] == [left[one] for one in old]
    for one in left:
        ordered.drop(one)
    # Nothing of them is kept in memory.
    assert not ordered._rows and not ordered._incidents and not any(ordered._shelves.values())


def test_sagas_are_counted_by_workflow_and_state_without_those_of_exercises() -> None:
    rows = [SagaRow(f"s{n}", n, workflow="a", district=DISTRICTS[n % 3]) for n in range(5)]
    ordered = Ordered([*rows, SagaRow("s7", 1, "completed", workflow="b"), SagaRow("drill~s8", 1, workflow="a")])
    ordered.put(replace(rows[0], state="completed"))
    ordered.drop("s1")
    assert {key: many for key, many in ordered.counted().items() if many} == {
        ("a", "running"): 3,
        ("a", "completed"): 1,
        ("b", "completed"): 1,
    }
