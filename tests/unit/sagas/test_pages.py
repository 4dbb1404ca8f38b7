"""The page of a workflow shows all of its definition, and nothing that is not in it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled
from citybrain.traffic.v1.events_pb2 import VehicleMissing

from citybrain.sagas.engine.definition import CarryOn, Child, Human, Leaf, Parallel, Step, Wait, Workflow, undoable
from citybrain.sagas.workflows import newest, published
from citybrain.sagas.workflows.emergency_response import EMERGENCY_RESPONSE
from tests.unit.sagas.test_schedules import EVERY_WORD, WITH_CHILDREN
from tools import check_repository, workflow_pages
from tools.workflow_pages import FOLDER, duration, made, page, picture

NODE = re.compile(r'    (\w+)(?:\(\[".+"\]\)|\(\(".+"\)\)|\[\[".+"\]\]|\[/".+"/\]|\{\{".+"\}\}|\{".+"\}|\[".+"\])')
EDGE = re.compile(r'    (\w+) (-->|-- "[^"]+" -->|-\. "[^"]+" \.->) (\w+)')
ALL = [*published(), EVERY_WORD]


WHY: dict[type, str] = {Step: "fails", Wait: "nothing comes", Human: "nobody decides"}


def node_of(leaf: Leaf) -> str:
    """How a picture calls the node of a step, a wait or a question."""
    return {Step: "do_", Wait: "wait_", Human: "ask_"}[type(leaf)] + leaf.name


def read(workflow: Workflow) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    """The nodes of a picture with their lines, and its edges. Every line is one or the other."""
    head, *lines = picture(workflow).splitlines()
    assert head == "flowchart TD"
    nodes, edges = {}, []
    for line in lines:
        if edge := EDGE.fullmatch(line):
            edges.append((edge[1], edge[2], edge[3]))
        else:
            node = NODE.fullmatch(line)
            assert node is not None, line
            assert node[1] not in nodes, "each node stands once"
            nodes[node[1]] = line
    return nodes, edges


def reached(edges: list[tuple[str, str, str]], start: str, solid: bool = False) -> set[str]:
    found, waiting = {start}, [start]
    while waiting:
        one = waiting.pop()
        for begin, arrow, end in edges:
            if begin == one and end not in found and not (solid and arrow.startswith("-.")):
                found.add(end)
                waiting.append(end)
    return found


@pytest.mark.parametrize("workflow", ALL, ids=lambda one: f"{one.name}-{one.version}")
def test_every_step_and_every_wait_is_in_the_picture_and_is_reached_from_the_beginning(workflow: Workflow) -> None:
    nodes, edges = read(workflow)
    way = reached(edges, "begins", solid=True)
    for leaf in workflow.leaves():
        name = node_of(leaf)
        assert f'"{leaf.name}<br/>' in nodes[name]
        assert name in way, leaf.name
        assert "completed" in reached(edges, name, solid=True)
    assert {end for edge in edges for end in (edge[0], edge[2])} == set(nodes), "every node has an arrow, every arrow two nodes"


@pytest.mark.parametrize("workflow", ALL, ids=lambda one: f"{one.name}-{one.version}")
def test_what_a_failure_leads_to_is_an_arrow(workflow: Workflow) -> None:
    _, edges = read(workflow)
    for leaf in workflow.leaves():
        name, why = node_of(leaf), WHY[type(leaf)]
        fails = {(arrow, end) for begin, arrow, end in edges if begin == name and arrow != "-->"}
        if isinstance(leaf, Human) and leaf.unanswered:
            assert fails == set()
        elif leaf.otherwise == "go on":
            onwards = {end for begin, arrow, end in edges if begin == name and arrow == "-->"}
            assert fails == {(f'-. "{why}: without it" .->', end) for end in onwards}
        else:
            end = {"undo": "undo", "needs human": "human"}[leaf.otherwise]
            assert (f'-. "{why}" .->', end) in fails
            missing = isinstance(leaf, Wait) and VehicleMissing in leaf.fails_on
            assert (('-. "VehicleMissing" .->', end) in fails) == missing


@pytest.mark.parametrize("workflow", ALL, ids=lambda one: f"{one.name}-{one.version}")
def test_undo_is_drawn_in_reverse_from_what_calls_the_saga_off(workflow: Workflow) -> None:
    nodes, edges = read(workflow)
    undone = [leaf for leaf in workflow.leaves() if undoable(leaf)]
    for event in workflow.undo_on:
        assert (f"off_{event.DESCRIPTOR.name}", "-->", "undo") in edges
    if "undo" not in nodes:
        assert all(leaf.otherwise != "undo" for leaf in workflow.leaves())
        return
    chain, at = [], "undo"
    while at != "undone":
        (at,) = [end for begin, _, end in edges if begin == at]
        chain.append(at)
    assert chain == [*(f"undo_{leaf.name}" for leaf in reversed(undone)), "undone"]
    for leaf in undone:
        assert isinstance(leaf, Step) and leaf.undo is not None
        assert leaf.undo.method.partition("/")[2] in nodes[f"undo_{leaf.name}"]


def test_a_child_is_drawn_with_its_workflow_and_what_its_undo_is() -> None:
    nodes, edges = read(WITH_CHILDREN)
    assert '[["first<br/>a saga of ride<br/>within 5 min"]]' in nodes["do_first"]
    assert '["undo first<br/>all that ride has done"]' in nodes["undo_first"]
    assert ("do_first", '-. "fails" .->', "human") in edges
    assert ("on_scope_VehicleMissing", '-. "anew, after its undo" .->', "do_beside") in edges
    assert "| `first` | `ride` | 5 min | a person is asked | all that it has done |" in page(WITH_CHILDREN)
    assert "| `beside` | `ride` | 5 min | it goes on without | all that it has done, also if it goes on without |" in page(
        WITH_CHILDREN
    )
    cleared = replace(WITH_CHILDREN, nodes=(Child("ride", "ride", lambda s: s.input, 60, clearance="command"),))
    assert "all that it has done, when command clears it" in page(cleared)


STEP = next(leaf for leaf in EVERY_WORD.leaves() if isinstance(leaf, Step) and leaf.otherwise == "undo")


def test_a_part_that_need_not_succeed_is_left_as_a_whole() -> None:
    first, second = replace(STEP, name="first"), replace(STEP, name="second")
    lenient = replace(EVERY_WORD, nodes=(CarryOn("help", (first, second)), replace(STEP, name="after")))
    _, edges = read(lenient)
    # The second is not done where the first has failed.
    assert ("do_first", '-. "fails: help is left" .->', "do_after") in edges
    assert [end for begin, arrow, end in edges if begin == "do_first" and arrow == "-->"] == ["do_second"]
    assert page(lenient).count("the rest of `help` is left out") == 2


def test_branches_lie_side_by_side_and_meet_again() -> None:
    _, edges = read(EVERY_WORD)
    from_fork = [end for begin, _, end in edges if begin == "fork_1"]
    assert from_fork == ["do_left", "do_right"]
    assert [end for begin, _, end in edges if begin == "do_right" and end != "human"] == ["fork_2"]
    assert ("wait_early", "-->", "join_1") in edges and ("join_2", "-->", "join_1") in edges
    assert ("join_1", "-->", "wait_late") in edges


def test_what_a_workflow_does_not_have_is_not_drawn() -> None:
    (step,) = [leaf for leaf in EVERY_WORD.leaves() if leaf.name == "first"]
    assert isinstance(step, Step)
    plain = replace(EVERY_WORD, undo_on={}, nodes=(replace(step, undo=None, otherwise="go on"),))
    nodes, _ = read(plain)
    assert set(nodes) == {"begins", "do_first", "completed"}
    assert "| wait |" not in page(plain)
    undone, edges = read(replace(plain, undo_on={IncidentCancelled: lambda event: ""}))
    assert ("undo", "-->", "undone") in edges and "human" not in undone


def test_the_tables_say_command_deadline_tries_failure_and_undo() -> None:
    text = page(EMERGENCY_RESPONSE)
    for row in (
        "`reserve_bed` | `Health.ReserveBed` | 10 min | 5 s, growing to 30 s | a person is asked | `Health.CancelBed`",
        "`announce_patient` | `Health.AnnouncePatient` | 1 min | 1 s, growing to 30 s | it goes on without | none",
        "`on_board` | `MissionReported`, which stays for a later wait | 1 h | a person is asked | `VehicleMissing`",
        "`at_hospital` | `MissionReported` | a computed time | a person is asked | `VehicleMissing`",
    ):
        assert f"| {row} |" in text
    assert "| `early` | `MissionReported`, which stays for a later wait | 40 s | all is undone | nothing |" in page(EVERY_WORD)
    assert "It begins with `citybrain.emergency_command.v1.IncidentOpened`. All is undone on `IncidentCancelled`" in text
    assert [duration(one) for one in (0.5, 59, 60, 90, 3600, 5400)] == ["0.5 s", "59 s", "1 min", "90 s", "1 h", "90 min"]


def test_a_new_word_of_the_vocabulary_is_not_left_out_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Choice:
        """A kind of node that is not known here."""

    monkeypatch.setattr(workflow_pages, "leaves", lambda nodes: iter(()))
    new: Any = Choice()
    with pytest.raises(TypeError, match="Choice is a new word of the vocabulary: say here how one is drawn"):
        picture(replace(EVERY_WORD, nodes=(Parallel(((new,),)),)))


def test_each_newest_workflow_has_its_page_which_is_linked_and_drifts_if_the_definition_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert {path.name for path in FOLDER.glob("*.md")} == {f"{one.name}.md" for one in newest()} == set(made())
    assert len(newest()) == len({one.name for one in published()})
    assert all(one.version == max(each.version for each in published() if each.name == one.name) for one in newest())
    for name in made():
        for index in ("docs/README.md", "sagas/README.md"):
            assert f"workflows/{name})" in (check_repository.ROOT / index).read_text("utf-8"), f"{index} links {name}"
    assert workflow_pages.drift() == []
    monkeypatch.setattr(workflow_pages, "FOLDER", tmp_path)
    assert workflow_pages.drift() == sorted(made())
    (tmp_path / "gone.md").write_text("of a workflow that is gone", encoding="utf-8")
    assert workflow_pages.drift() == sorted([*made(), "gone.md"])
    assert "docs/workflows/gone.md has drifted: make workflows" in check_repository._drift()
    assert workflow_pages.main() == 0
    assert workflow_pages.drift() == [] and not (tmp_path / "gone.md").exists()
