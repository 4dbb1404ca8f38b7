"""A saga of a saga, as its parent sees it: started once, waited for, undone with the rest, and never lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.traffic.v1.events_pb2 import VehicleMissing
from google.protobuf.message import Message

from citybrain.mesh.events import message_class
from citybrain.sagas.engine import persons
from citybrain.sagas.engine.checking import WorkflowError, check
from citybrain.sagas.engine.children import begins, has_told, told
from citybrain.sagas.engine.decider import misfit
from citybrain.sagas.engine.definition import (
    CarryOn,
    Child,
    Choice,
    During,
    Leave,
    Node,
    Parallel,
    Reaction,
    Redo,
    Repeat,
    RestartFrom,
    Wait,
    Workflow,
)
from citybrain.sagas.engine.following import child_id
from citybrain.sagas.engine.moving import MovingRow, moved
from citybrain.sagas.engine.state import SagaState, evolve, pack
from citybrain.sagas.testing import Story, StoryError
from tests.unit.sagas.test_schedules import bed

SAGA = "inc-0123456789ab"


def whose(event: Message) -> str:
    return str(event.incident_id)  # type: ignore[attr-defined]


# No event begins it: only sagas do.
TRANSFER = Workflow(
    name="transfer",
    version=1,
    starts_on=IncidentOpened,
    hears={MissionReported: whose},
    nodes=(bed("inner"), Wait("arrives", MissionReported, 600)),
)


def child(name: str = "transfer", **options: Any) -> Child:
    options.setdefault("deadline_s", 100)
    return Child(name, "transfer", options.pop("input", lambda s: IncidentOpened(incident_id=s.saga_id)), **options)


def parent(*nodes: Node, **options: Any) -> Workflow:
    hears = dict.fromkeys((IncidentOpened, IncidentCancelled, MissionReported, VehicleMissing), whose)
    return Workflow("parent", 1, IncidentOpened, hears, nodes, {IncidentCancelled: lambda event: "called off"}, **options)


def story(*nodes: Node) -> Story:
    mother = parent(*nodes)
    return Story(mother, beside=[TRANSFER] if mother.children() else []).starts_with(IncidentOpened(incident_id=SAGA))


def missing(does: Any) -> dict[type[Message], Reaction]:
    return {VehicleMissing: Reaction(does, lambda s, event: "it is gone")}


GONE = VehicleMissing(incident_id=SAGA)
OFF = IncidentCancelled(incident_id=SAGA)


# -- its life ---------------------------------------------------------------------------------------------------------------


def test_the_saga_goes_on_when_its_child_has_completed_and_can_ask_how_it_ended() -> None:
    told = story(child(), bed("last")).must_send("transfer")
    assert told.requests["transfer"] == IncidentOpened(incident_id=SAGA)
    told.child_ends("transfer").must_send("last")
    end = told.state.answer("transfer")
    assert (end.state, end.child, end.reason) == ("completed", f"{SAGA}.transfer.1", "")
    assert told.state.child("transfer") == end


def test_the_id_of_a_child_follows_from_the_step_and_its_attempt_and_is_short_enough_for_the_keys_of_its_own_steps() -> None:
    assert child_id("inc-1/transfer/1") == "inc-1.transfer.1"
    long = f"{'i' * 60}/transfer/1"
    assert child_id(long) == child_id(long) != child_id(f"{'i' * 60}/transfer/2")
    assert len(child_id(long)) <= 64


def test_a_child_that_was_undone_is_a_failure_and_says_why() -> None:
    told = story(bed("first"), child()).answers("first").child_ends("transfer", "undone", "no bed").must_be("undoing", "no bed")
    # It was undone already: whoever asks the child is told so at once.
    told.must_send("undo transfer").child_ends("transfer", "undone").must_send("undo first")
    told.undone("first").must_be("undone")


def test_a_saga_that_can_do_without_its_child_sees_how_it_ended() -> None:
    how = Choice("how", ((lambda s: s.child("transfer").state == "undone", (bed("other"),)),))
    told = story(child(otherwise="go on"), how).child_ends("transfer", "undone", "no bed").must_send("other")
    assert not told.state.answered("transfer") and told.state.child("transfer").reason == "no bed"


def test_a_terminated_child_is_a_failure_and_its_undo_needs_a_human_because_nobody_undid_what_it_did() -> None:
    told = story(child()).child_ends("transfer", "terminated", "it hangs").must_send("undo transfer")
    told.child_ends("transfer", "terminated").must_be("needs human", "then skip the undo of transfer")
    told.human_skips("transfer").must_be("undone")


def test_where_a_human_is_asked_about_a_child_that_ended_resuming_starts_another_one() -> None:
    told = story(child(otherwise="needs human")).child_ends("transfer", "undone", "no bed").must_be("needs human", "no bed")
    told.human_resumes().must_send("transfer")
    assert [one.child for one in told.state.attempts()] == [f"{SAGA}.transfer.1", f"{SAGA}.transfer.2"]
    told.child_ends("transfer").must_be("completed")


def test_a_child_that_is_late_is_not_started_twice_when_a_human_resumes() -> None:
    told = story(child(otherwise="needs human")).time_passes(100).must_be("needs human", "no answer in time")
    told.human_resumes().must_send("transfer")
    assert [one.child for one in told.state.attempts()] == [f"{SAGA}.transfer.1"]
    told.time_passes(100).must_be("needs human").child_ends("transfer").must_be("completed")


def test_a_late_failure_of_a_child_is_known_when_a_human_resumes() -> None:
    told = story(child(otherwise="needs human")).time_passes(100).child_ends("transfer", "undone").must_be("needs human")
    told.human_resumes()
    assert told.state.steps["transfer"].child == f"{SAGA}.transfer.2"


def test_a_late_end_is_used_or_the_child_is_taken_back_as_its_definition_says() -> None:
    used = story(child(otherwise="go on"), bed("last")).time_passes(100).must_send("last").child_ends("transfer")
    assert used.state.answered("transfer") and used.followed == []
    back = story(child(otherwise="go on", late="undo"), bed("last")).time_passes(100).must_send("last", "undo transfer")
    # It had completed before it was told to undo.
    assert back.child_ends("transfer").followed == []
    back.child_ends("transfer", "undone")
    assert back.state.steps["transfer"].undo == "done"


def test_a_child_that_was_undone_late_is_not_told_to_undo_again() -> None:
    told = story(CarryOn("try", (child(otherwise="needs human", late="undo"),)), bed("last")).time_passes(100)
    told.child_ends("transfer", "undone").human_skips("transfer").must_send("last")


# -- undo -------------------------------------------------------------------------------------------------------------------


def test_undo_waits_for_the_undo_of_the_child_also_of_one_that_had_completed() -> None:
    told = story(bed("first"), child(), bed("last")).answers("first").child_ends("transfer").must_send("last")
    told.hears(OFF).must_send("undo last").undone("last").must_send("undo transfer")
    # The child needs a person meanwhile: this saga waits, however long that takes.
    told.time_passes(100_000).must_be("undoing").must_send()
    told.crashes().must_send("undo transfer")
    told.child_ends("transfer", "undone").must_send("undo first")


def test_a_child_under_way_is_undone_with_the_rest() -> None:
    story(child()).hears(OFF).must_send("undo transfer").child_ends("transfer", "undone").must_be("undone")


def test_who_protects_life_in_a_child_is_asked_before_the_child_is_undone() -> None:
    told = story(child(clearance="command")).hears(OFF).must_be("needs human", "only when command clears it")
    told.human_clears("transfer").must_send("undo transfer")


@pytest.mark.parametrize("does", [Redo("transfer"), RestartFrom("transfer")])
def test_a_scope_takes_its_child_back_and_starts_another_one_after_that(does: Any) -> None:
    told = story(During("scope", (child(), Wait("w", MissionReported, 600)), missing(does))).child_ends("transfer")
    told.time_passes(1).hears(GONE).must_send("undo transfer").child_ends("transfer", "undone").must_send("transfer")
    assert told.state.steps["transfer"].child == f"{SAGA}.transfer.2"
    assert not told.state.answered("transfer")
    with pytest.raises(KeyError):
        told.state.child("transfer")


def test_a_scope_that_is_left_takes_its_child_back() -> None:
    told = story(During("scope", (child(),), missing(Leave())), bed("last")).time_passes(1).hears(GONE)
    assert told.out() == ["last", "undo transfer"]


def test_each_round_of_a_loop_has_a_child_of_its_own() -> None:
    told = story(Repeat("again", (child(),), lambda s: s.rounds.get("again", 0) >= 1, 3)).child_ends("transfer")
    told.must_send("transfer").child_ends("transfer").must_be("completed")
    assert [one.child for one in told.state.attempts()] == [f"{SAGA}.transfer.1", f"{SAGA}.transfer.2"]
    assert persons.not_undone(told.workflow, told.state) == ["transfer"]


def test_whoever_ends_a_saga_is_told_which_children_are_left() -> None:
    told = story(Parallel(((child(),), (child("second", otherwise="go on"),)))).child_ends("second", "undone")
    assert persons.children_left(told.state) == [f"{SAGA}.transfer.1"]
    assert persons.not_undone(told.workflow, told.state) == ["transfer"]
    assert persons.children_left(story(child()).child_ends("transfer").state) == [f"{SAGA}.transfer.1"]
    assert persons.children_left(story(child()).child_ends("transfer", "terminated").state) == [f"{SAGA}.transfer.1"]


# -- the child ----------------------------------------------------------------------------------------------------------------


def folded(*events: Message) -> SagaState:
    state = SagaState()
    for event in events:
        state = evolve(state, event, 1)
    return state


def first(**values: Any) -> ev.SagaStarted:
    started = ev.SagaStarted(saga_id="p.transfer.1", workflow="transfer", workflow_version=1, parent="p", **values)
    started.input.CopyFrom(pack(IncidentOpened(incident_id="p")))
    return started


def test_a_child_begins_with_what_its_parent_had_heard_for_it_and_has_each_event_once() -> None:
    heard = MissionReported(incident_id="p")
    events = [ev.EventHeard(event_id=f"e{number}", event=pack(heard)) for number in range(2)]
    other = ev.EventHeard(event_id="other", event=pack(VehicleMissing(incident_id="p")))
    mother = folded(ev.SagaStarted(saga_id="p", workflow="parent", input=pack(IncidentOpened())), *events, other)
    begun = begins(first(), TRANSFER, mother)
    assert begun(SagaState())[0] == first()
    assert [one.event_id for one in begun(SagaState())[1:]] == ["e0", "e1"]  # type: ignore[attr-defined]
    # One of them had come by itself, and after a crash between two appends the rest is made up for.
    assert [one.event_id for one in begun(folded(first(), events[1]))] == ["e0"]  # type: ignore[attr-defined]


def test_a_child_owes_its_parent_each_of_its_ends_and_pays_it_once() -> None:
    start = Story(TRANSFER, beside=[parent(child())])
    start._put(first())
    ended = start.answers("inner").hears(MissionReported(incident_id="child")).time_passes(600).human_skips("arrives")
    assert [type(event).__name__ for event in ended.recorded[-2:]] == ["SagaCompleted", "ParentToBeTold"]
    ended._put(ev.ParentTold())
    assert ended.followed == [] and ended.state.telling == "told"
    # It is undone after it had completed, and tells anew.
    ended._put(ev.UndoBegan(reason="the parent takes it back")).must_send("undo inner").undone("inner").must_be("undone")
    assert ended.followed == ["SagaUndone", "ParentToBeTold"]


def test_what_a_child_tells_twice_or_to_a_parent_that_has_gone_on_changes_nothing() -> None:
    mother = story(child())
    tells = told(folded(first(parent_key=f"{SAGA}/transfer/1"), ev.SagaCompleted()))
    assert len(tells(mother.state)) == 1
    assert tells(mother.child_ends("transfer").state) == []
    assert tells(story(child()).hears(OFF).child_ends("transfer", "undone").state) == []
    assert tells(story(bed("first")).state) == []


def test_the_end_of_a_child_of_an_earlier_round_says_nothing_of_the_child_of_this_one() -> None:
    mother = story(Repeat("again", (child(otherwise="go on"),), lambda s: False, 3)).time_passes(101)
    assert mother.state.attempt("transfer") == 2 and mother.state.steps["transfer"].status == "sent"
    tells = told(folded(first(parent_key=f"{SAGA}/transfer/1"), ev.SagaCompleted()))
    assert tells(mother.state) == []


def test_a_child_that_was_told_to_undo_while_it_told_its_end_still_owes_the_new_one() -> None:
    completed = folded(first(), ev.SagaCompleted(), ev.ParentToBeTold())
    undone = folded(first(), ev.SagaCompleted(), ev.ParentToBeTold(), ev.UndoBegan(), ev.SagaUndone(), ev.ParentToBeTold())
    assert has_told(completed)(completed) == [ev.ParentTold()]
    assert has_told(completed)(undone) == []


def test_a_child_that_has_ended_must_move_until_its_parent_is_told() -> None:
    assert moved(moved(MovingRow(), ev.SagaCompleted()), ev.ParentToBeTold()) == MovingRow(look=True)
    assert moved(MovingRow(look=True), ev.ParentTold()) is None


# -- refused ------------------------------------------------------------------------------------------------------------------


def refused(*workflows: Workflow) -> str:
    with pytest.raises(WorkflowError) as told:
        check(workflows)
    return str(told.value)


def test_a_child_of_an_unknown_workflow_is_refused_with_the_one_that_is_meant() -> None:
    misspelt = replace(child(), workflow="transfr")
    assert "child transfer: no workflow is called transfr: do you mean transfer?" in refused(
        parent(misspelt), replace(TRANSFER, hears={**TRANSFER.hears, IncidentOpened: whose})
    )


def test_workflows_that_start_each_other_without_end_are_refused() -> None:
    back = Child("back", "parent", lambda s: IncidentOpened(), 60)
    assert "child transfer: parent starts transfer, which starts parent, and so on without end: take one" in refused(
        parent(child()), replace(TRANSFER, nodes=(back,))
    )
    assert "child own: transfer starts transfer, and so on" in refused(replace(TRANSFER, nodes=(child("own"),)))
    # A child is of the newest version: an older one that had started others leads nowhere.
    check([parent(child()), replace(TRANSFER, nodes=(back,)), replace(TRANSFER, version=2)])


def test_a_workflow_that_nothing_begins_is_refused() -> None:
    assert "starts_on is IncidentOpened, and `hears` does not say" in refused(TRANSFER)
    check([TRANSFER, parent(child())])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"deadline_s": 0}, "child transfer: deadline_s is 0: write seconds"),
        ({"input": lambda s, k: IncidentOpened()}, "child transfer: input cannot be called with the state"),
        ({"otherwise": "stop"}, "child transfer: otherwise is 'stop'"),
        ({"late": "stop"}, "child transfer: late is 'stop'"),
        ({"clearance": "The Chief"}, "child transfer: its clearance is by 'The Chief'"),
        ({"name": "The Child"}, "child The Child: its name is"),
        ({"input": lambda s: IncidentOpened(incident_id=s.child("other").child)}, "a function asks the state for 'other'"),
    ],
)
def test_a_child_that_cannot_work_is_refused(options: dict[str, Any], said: str) -> None:
    assert said in refused(parent(replace(child(), **options)), TRANSFER)


def test_a_step_that_became_a_child_under_the_same_version_does_not_fit() -> None:
    was = story(bed("transfer")).state
    assert misfit(parent(child()), was) == "transfer is a child in it, and was a step"


# -- the kit ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tells", "said"),
    [
        (lambda: story(child(input=lambda s: MissionReported())), "makes citybrain.health.v1.MissionReported, and transfer"),
        (lambda: story(bed("a")).child_ends("a"), "no child was started for 'a'; children have: nothing"),
        (lambda: story(child()).child_ends("transfer", "running"), "cannot end as 'running'"),
        (lambda: story(child()).answers("transfer"), "transfer is a child: say with child_ends"),
        (lambda: story(child()).fails("transfer"), "transfer is a child: say with child_ends"),
    ],
)
def test_a_story_says_what_is_wrong_about_a_child(tells: Any, said: str) -> None:
    with pytest.raises(StoryError, match=said):
        tells()


def test_a_child_is_told_by_a_story_of_its_own() -> None:
    told = Story(TRANSFER, beside=[parent(child())]).starts_with(story(child()).requests["transfer"])
    told.must_send("inner").answers("inner").must_be("running")
    assert message_class("citybrain.sagas.v1.ChildEnded") is ev.ChildEnded
