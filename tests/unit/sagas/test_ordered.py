"""Lists of sagas, newest first: exactly those that are asked for, whatever happened to them before."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from citybrain.sagas.listing import SagaRow, age
from citybrain.sagas.ordered import Ordered, Wanted

STATES, DISTRICTS, WORKFLOWS, INCIDENTS = ("running", "completed"), ("", "east", "west"), ("a", "b"), ("", "i1", "i2", "s3")

Row = st.builds(
    lambda number, started_at, state, district, workflow, incident: SagaRow(
        f"s{number}", started_at, state, district=district, workflow=workflow, incident=incident or f"s{number}"
    ),
    st.integers(0, 12),
    st.integers(0, 5),
    *map(st.sampled_from, (STATES, DISTRICTS, WORKFLOWS, INCIDENTS)),
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
        # That a saga began, and for which incident, never changes.
        old = now.get(row.saga_id)
        now[row.saga_id] = row if old is None else SagaRow(
            row.saga_id, row.started_at, row.state, district=row.district, workflow=row.workflow, incident=old.incident
        )  # fmt: skip
        ordered.put(now[row.saga_id])
    expected = sorted((row for row in now.values() if is_wanted(row, wanted)), key=age, reverse=True)
    assert list(ordered.find(wanted, after)) == [row for row in expected if after is None or age(row) < after]
    assert all(ordered.get(row.saga_id) == now[row.saga_id] for row in rows)
