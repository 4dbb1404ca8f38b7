"""A definition that was published is never changed: its digest says when one was, and nothing else makes it differ."""

from __future__ import annotations

import importlib
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from citybrain.sagas import workflows
from citybrain.sagas.engine.definition import Workflow
from citybrain.sagas.engine.digests import DigestError, digest
from citybrain.sagas.workflows import RETIRED, pins, published, retired
from tools.workflows import FILE, pinned_anew, problems

TEXT = '''
    """A workflow."""
    from dataclasses import replace

    from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
    from citybrain.health.v1.events_pb2 import MissionReported
    from citybrain.traffic.v1 import traffic_service_pb2 as traffic
    from citybrain.sagas.engine.definition import Command, Parallel, Step, Wait, Workflow

    FACTOR = 3
    GET = "citybrain.traffic.v1.TrafficService/GetSignal"

    def _name(state, end):
        """Which signal."""
        return f"{state.saga_id}/{end}"

    def _late(factor):
        return lambda state: factor * FACTOR

    def _again(state, count):
        return _again(state, count - 1) if count else _name(state, "x")

    FIND = Step("find", Command(GET, lambda s, k: traffic.GetSignalRequest(signal_id=_name(s, "a"))), deadline_s=60)
    LOOK = Step("look", Command(GET, lambda s, k: traffic.GetSignalRequest(signal_id=_again(s, 2))), deadline_s=60)
    HERE = Wait("here", MissionReported, _late(20), fails_on={IncidentCancelled: lambda s, e: "off"})
    W = Workflow(
        name="w", version=1, starts_on=IncidentOpened,
        hears={IncidentOpened: lambda e: e.incident_id, MissionReported: lambda e: e.incident_id},
        undo_on={IncidentCancelled: lambda e: "a", IncidentOpened: lambda e: "b"},
        nodes=(FIND, Parallel(((HERE,), (LOOK,)))),
    )
    V = replace(W, version=2, nodes=(FIND, HERE))
'''
NUMBERS = itertools.count()
Make = Callable[..., dict[int, Workflow]]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes the module, with some of its text replaced; its workflows by version."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def module(*changes: tuple[str, str]) -> dict[int, Workflow]:
        text = textwrap.dedent(TEXT)
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        # Workflows of one package, whose name never is the same twice: Python keeps what it has loaded.
        name = f"workflow_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        made.append(name)
        importlib.invalidate_caches()
        found = vars(importlib.import_module(name)).values()
        return {one.version: one for one in found if isinstance(one, Workflow)}

    yield module
    for name in made:
        sys.modules.pop(name)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("deadline_s=60", "deadline_s=61"), id="a deadline"),
        pytest.param(('"find"', '"seek"'), id="a name"),
        pytest.param(
            ('GET = "citybrain.traffic.v1.TrafficService/GetSignal"', 'GET = "citybrain.traffic.v1.X/Y"'), id="a method"
        ),
        pytest.param(('_name(s, "a")', '_name(s, "b")'), id="how a request is made"),
        pytest.param(("{state.saga_id}/{end}", "{state.saga_id}:{end}"), id="a function that is used"),
        pytest.param(("FACTOR = 3", "FACTOR = 4"), id="a number that is used"),
        pytest.param(("_late(20)", "_late(21)"), id="what a function was made with"),
        pytest.param(("count - 1", "count - 2"), id="a function that uses itself"),
        pytest.param(('lambda e: "b"', 'lambda e: "c"'), id="the second function on a line"),
        pytest.param(('s, e: "off"', 's, e: ""'), id="what a wait fails on"),
        pytest.param(
            ("MissionReported: lambda e: e.incident_id", "MissionReported: lambda e: e.ambulance_id"), id="what it hears"
        ),
        pytest.param(("((HERE,), (LOOK,))", "((LOOK,), (HERE,))"), id="an order"),
        pytest.param(("GetSignalRequest", "ListSignalsRequest"), id="a message"),
    ],
)
def test_whatever_changes_what_a_saga_does_changes_the_digest(make: Make, change: tuple[str, str]) -> None:
    assert digest(make()[1]) != digest(make(change)[1])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("Which signal.", "The signal it is about."), id="a docstring"),
        pytest.param(("FACTOR = 3", "# Three.\n\n\nFACTOR  =  3"), id="a comment, an empty line"),
        pytest.param(("def _name(state, end):", "def _name(state: object, end: str) -> str:"), id="types"),
        pytest.param(("lambda s, k: traffic", "lambda s, k: (\n    traffic"), id="layout"),
    ],
)
def test_whatever_does_not_change_what_a_saga_does_leaves_the_digest(make: Make, change: tuple[str, str]) -> None:
    close = [("(s, 2))), deadline_s", "(s, 2)))), deadline_s"), ('(s, "a"))), deadline_s', '(s, "a")))), deadline_s')]
    assert digest(make()[1]) == digest(make(change, *(close if "(\n" in change[1] else ()))[1])


def test_a_version_has_a_digest_of_its_own_which_what_the_others_do_leaves_alone(make: Make) -> None:
    first, second = make(), make(("nodes=(FIND, HERE)", "nodes=(FIND, LOOK)"))
    assert digest(first[1]) == digest(second[1])
    assert digest(first[2]) != digest(second[2])
    assert digest(first[1]) != digest(first[2])


def test_what_has_no_text_of_its_own_is_refused_with_what_to_make_of_it(make: Make) -> None:
    with pytest.raises(DigestError, match=r"holds <object object.*: make it of functions with a source, messages, numbers"):
        digest(make(("nodes=(FIND, Parallel", "nodes=(object(), Parallel"))[1])
    with pytest.raises(DigestError, match="holds <built-in function len>"):
        digest(make(("MissionReported: lambda e: e.incident_id", "MissionReported: len"))[1])


def test_pins_say_what_was_changed_what_is_new_and_what_is_gone(make: Make) -> None:
    here = make()
    first, second = digest(here[1]), digest(here[2])

    def found(pinned: dict[tuple[str, int], str]) -> list[str]:
        return problems(here.values(), pinned)

    assert found({("w", 1): first, ("w", 2): second}) == []
    assert found({("w", 1): first}) == ["w, version 2 is not pinned: run `make workflows` when it is as it should be"]
    (changed,) = found({("w", 1): "0", ("w", 2): second})
    assert changed.startswith("w, version 1 was changed after it was published") and "in version 3 beside it" in changed
    (gone,) = found({("w", 1): first, ("w", 2): second, ("old", 1): "0"})
    assert gone.startswith("old, version 1 was published and is gone") and f'write "{RETIRED}"' in gone
    assert found({("w", 1): first, ("w", 2): second, ("old", 1): RETIRED}) == []
    (both,) = found({("w", 1): first, ("w", 2): RETIRED})
    assert both.startswith("w, version 2 is retired and still there")


def test_what_is_new_is_pinned_and_what_was_pinned_is_never_pinned_anew(make: Make) -> None:
    here = make()
    text = pinned_anew(here.values(), {("w", 1): "0", ("old", 3): RETIRED})
    assert text.partition("\n[")[2] == f'old]\n3 = "{RETIRED}"\n\n[w]\n1 = "0"\n2 = "{digest(here[2])}"\n'


def test_the_workflows_of_the_city_are_found_by_their_folder_and_are_as_they_were_published() -> None:
    names = [(one.name, one.version) for one in published()]
    first = [("emergency_response", version) for version in (3, 2, 1)]
    assert names == [*first, ("joint_command", 1), ("peak_crowd", 1), ("pollution_sanction", 1)]
    assert problems(published(), pins()) == []
    assert retired() == frozenset(one for one, pin in pins().items() if pin == RETIRED)
    assert FILE.read_text(encoding="utf-8") == pinned_anew(published(), pins())


def test_a_second_definition_of_one_name_and_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "from citybrain.sagas.workflows.emergency_response import EMERGENCY_RESPONSE as E\nfrom dataclasses import replace\n"
    (tmp_path / "second_one.py").write_text(f"{text}SAME = replace(E)\n", encoding="utf-8")
    monkeypatch.setattr(workflows, "__path__", [*workflows.__path__, str(tmp_path)])
    monkeypatch.setitem(sys.modules, "citybrain.sagas.workflows.second_one", None)
    del sys.modules["citybrain.sagas.workflows.second_one"]
    with pytest.raises(ValueError, match=r"second_one\.py has a second emergency_response of version 3: give it another"):
        published()
