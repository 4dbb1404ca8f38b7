"""A broken definition is refused when it is loaded, with a sentence that says what to change, and where."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.traffic.v1.events_pb2 import VehicleMissing
from google.protobuf.message import Message

from citybrain.local.city import ROOT
from citybrain.mesh.manifest import find_manifests
from citybrain.mesh.startup.entry import load_entry
from citybrain.mesh.startup.serve import rooms
from citybrain.sagas import workflows
from citybrain.sagas.engine.checking import WorkflowError, check, inside, problems
from citybrain.sagas.engine.definition import (
    CarryOn,
    Choice,
    Command,
    During,
    Human,
    Node,
    Parallel,
    Reaction,
    Redo,
    Repeat,
    RestartFrom,
    Step,
    Undo,
    Wait,
    Workflow,
)
from citybrain.sagas.engine.runner import SagaRunner
from citybrain.sagas.engine.state import SagaState
from citybrain.sagas.workflows import published
from tools import check_repository
from tools.workflows import unpublished

HEALTH = "citybrain.health.v1.HealthService"
HERE = Path(__file__).name


def whose(event: Message) -> str:
    return str(event.incident_id)  # type: ignore[attr-defined]


def reserve(state: SagaState, key: str) -> Message:
    return health.ReserveBedRequest(reservation_id=key)


def cancel(state: SagaState, key: str) -> Message:
    return health.CancelBedRequest(reservation_id=key)


RESERVE, CANCEL = Command(f"{HEALTH}/ReserveBed", reserve), Command(f"{HEALTH}/CancelBed", cancel)
BED = Step("bed", RESERVE, 60, undo=CANCEL)
HERE_SOON = Wait("here", MissionReported, 60)
GOOD = Workflow(
    "transfer", 1, IncidentOpened, dict.fromkeys((IncidentOpened, MissionReported), whose), (BED, HERE_SOON)
)  # fmt: skip


def of(*nodes: Node, **changes: Any) -> list[str]:
    """What is wrong with it, without where and of what."""
    given: dict[str, Any] = {"nodes": nodes or GOOD.nodes, **changes}
    changed = replace(GOOD, **given)
    return [found.partition(", version 1: ")[2] or found for found in problems(changed)]


def one(*nodes: Node, **changes: Any) -> str:
    (only,) = of(*nodes, **changes)
    return only


def test_a_sound_definition_has_no_problem_and_neither_have_those_of_the_city() -> None:
    assert problems(GOOD) == []
    assert [found for each in published() for found in problems(each)] == []
    undo_first = replace(BED, otherwise="undo", undo=None)
    assert of(undo_first, HERE_SOON) == [], "with nothing before it there is nothing to undo, which is sound"
    assert of(Parallel(((BED,), (HERE_SOON,)))) == []


def test_the_sentence_says_file_and_line_workflow_and_version_and_what_to_write() -> None:
    (found,) = problems(replace(GOOD, nodes=(replace(BED, deadline_s=0),)))
    line = next(n for n, text in enumerate(Path(__file__).read_text("utf-8").splitlines(), 1) if text.startswith("BED = "))
    place, _, said = found.partition(": ")
    assert place.endswith(f"{HERE}:{line}")
    assert said == "workflow transfer, version 1: step bed: deadline_s is 0: write seconds of city time, more than 0"


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (f"{HEALTH}/ReserveBad", f"{HEALTH} has no method ReserveBad: do you mean ReserveBed"),
        (f"{HEALTH}/Xyz", f"{HEALTH} has no method Xyz: its methods are AnnouncePatient, CancelBed"),
        (
            "citybrain.healht.v1.HealthService/ReserveBed",
            "has a service citybrain.healht.v1.HealthService: do you mean " + HEALTH,
        ),
        (
            "citybrain.traffic.v1.NoService/Get",
            "no contract has a service citybrain.traffic.v1.NoService: do you mean citybrain.",
        ),
        ("ReserveBed", "'ReserveBed' is no method: write package.Service/Method"),
        ("citybrain.district_hub.v1.DistrictHubService/Subscribe", "Subscribe streams, and a saga needs one answer"),
    ],
)
def test_a_command_calls_a_method_that_a_contract_has_and_that_does_not_stream(method: str, says: str) -> None:
    assert says in one(Step("bed", Command(method, reserve), 60))
    assert one(Step("bed", Command(method, reserve), 60)).startswith("step bed: command: ")
    undo = of(Step("bed", RESERVE, 60, undo=Command(method, cancel)))[0]
    assert says in undo and undo.startswith("step bed: undo: ")


def test_a_contract_that_nothing_has_loaded_yet_is_found() -> None:
    script = (
        "import sys; from citybrain.sagas.engine.checking import method_of; "
        "from citybrain.sagas.engine.definition import Command; "
        "assert 'citybrain.identity.v1.identity_service_pb2' not in sys.modules; "
        "print(method_of(Command('citybrain.identity.v1.IdentityService/ListKeys', lambda s, k: k)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "IdentityService has no method ListKeys" in done.stdout


def without_key(state: SagaState, key: str) -> Message:
    # The word alone is no use of it.
    return health.CancelBedRequest(reservation_id=state.key("bed"))


def deeper(state: SagaState, key: str) -> Message:
    return (lambda: health.CancelBedRequest(reservation_id=key))()


class Callable:
    """A request that is made by no plain function."""

    def __call__(self, state: SagaState, key: str) -> Message:
        return cancel(state, key)

    def method(self, key: str, other: str) -> Message:
        # What is the second argument of the method is the first of the call.
        return health.CancelBedRequest(reservation_id=key)


def test_an_undo_and_what_it_undoes_both_use_the_key() -> None:
    says = "has an undo, and the request of its {} does not use the key: put the second argument of the function into the id"
    assert says.format("undo") in one(replace(BED, undo=Command(CANCEL.method, without_key)))
    assert says.format("command") in one(replace(BED, command=Command(RESERVE.method, without_key)))
    assert says.format("undo") in one(replace(BED, undo=Command(CANCEL.method, Callable())))
    method: Any = Callable().method
    assert says.format("undo") in one(replace(BED, undo=Command(CANCEL.method, method)))
    assert of(replace(BED, undo=Command(CANCEL.method, deeper))) == []
    assert of(replace(BED, undo=Command(CANCEL.method, lambda s, k: cancel(s, k)))) == []
    assert of(Step("bed", Command(RESERVE.method, without_key), 60)) == [], "without an undo nobody has to name what was done"


def test_the_contracts_of_a_command_and_its_undo_share_an_id() -> None:
    roads = Command("citybrain.traffic.v1.TrafficService/GetSignal", cancel)
    says = "ReserveBedRequest and GetSignalRequest share no text field `…_id`, so the undo cannot name what the command did"
    assert says in one(replace(BED, undo=roads))


def test_names_are_plain_words_and_no_two_are_equal() -> None:
    for name in ("", "Bed", "a bed", "bed/1", "床", "b" * 41):
        assert f"its name is {name!r}: write a plain word of small letters" in one(replace(BED, name=name))
        assert f"its name is {name!r}" in one(replace(HERE_SOON, name=name))
        assert f"its name is {name!r}" in one(name=name)
    assert "2 parts are called bed: give each a name of its own" in one(BED, Parallel(((replace(HERE_SOON, name="bed"),),)))
    assert "its version is 0: write 1, or the next number" in problems(replace(GOOD, version=0))[0]


def test_what_a_workflow_waits_for_is_undone_by_or_starts_with_is_what_it_hears() -> None:
    only_opened: Mapping[type[Message], Any] = {IncidentOpened: whose}
    heard = "write `MissionReported: lambda event: …` with the id of the saga into `hears`"
    waits = "wait here: waits for MissionReported, and `hears` does not bring it to a saga: "
    assert one(BED, HERE_SOON, hears=only_opened) == waits + heard
    several = replace(HERE_SOON, event=(IncidentOpened, MissionReported))
    assert one(BED, several, hears=only_opened) == waits + heard
    assert one(BED, replace(HERE_SOON, event=())) == "wait here: waits for no event: write the type of one, or of several"
    fails = replace(HERE_SOON, fails_on={VehicleMissing: lambda s, e: ""})
    assert "wait here: fails_on names VehicleMissing, and `hears` does not bring it" in one(BED, fails)
    assert "undo_on names IncidentCancelled, and `hears` does not bring it" in one(undo_on={IncidentCancelled: lambda e: ""})
    assert "starts_on is VehicleMissing, and `hears` does not say which saga one begins" in one(starts_on=VehicleMissing)


def test_what_a_workflow_hears_is_an_event_that_somebody_publishes() -> None:
    hears = {**GOOD.hears, health.ReserveBedRequest: whose}
    assert one(hears=hears) == "hears: citybrain.health.v1.ReserveBedRequest is no event: hear a message of an events.proto"
    events = {"citybrain.emergency_command.v1.IncidentOpened", "citybrain.health.v1.MissionReportet"}
    (found,) = problems(GOOD, events)
    assert found.endswith(
        "hears: no manifest publishes citybrain.health.v1.MissionReported: do you mean citybrain.health.v1.MissionReportet?"
    )
    (found,) = problems(GOOD, {"citybrain.emergency_command.v1.IncidentOpened"})
    assert found.endswith("hear another event, or have its service publish it")
    assert unpublished([GOOD]) == [] == unpublished(published())
    (found,) = unpublished([replace(GOOD, hears=hears)])
    assert "no manifest publishes citybrain.health.v1.ReserveBedRequest" in found


def test_the_check_of_the_repository_asks_the_manifests_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_repository._workflows() == []
    monkeypatch.setattr("tools.workflows.find_manifests", lambda folders: [])
    found = check_repository._workflows()
    assert any("no manifest publishes citybrain.emergency_command.v1.IncidentOpened" in each for each in found)


def test_an_event_that_was_given_up_is_not_heard() -> None:
    from citybrain.probe.v1 import events_pb2 as probe

    given_up = next(
        getattr(probe, name) for name, one in probe.DESCRIPTOR.message_types_by_name.items() if one.GetOptions().deprecated
    )
    assert "is given up, and nobody hears it: hear what its upcaster makes of it" in one(hears={**GOOD.hears, given_up: whose})


def test_times_are_more_than_nothing_and_a_pause_fits_into_its_deadline() -> None:
    for seconds in (0, -1, math.nan, math.inf):
        assert f"deadline_s is {seconds}: write seconds of city time, more than 0" in one(
            replace(HERE_SOON, deadline_s=seconds)
        )
        assert any(f"deadline_s is {seconds}: write" in found for found in of(replace(BED, deadline_s=seconds)))
        assert any(f"step bed: pause_s is {seconds}: write" in found for found in of(replace(BED, pause_s=seconds)))
        assert f"longest_pause_s is {seconds}: write" in one(replace(BED, longest_pause_s=seconds))
    assert one(replace(BED, pause_s=61)) == "step bed: pause_s is 61 and deadline_s is 60: pause less, else it is tried once"
    assert of(replace(BED, pause_s=60)) == []
    assert of(replace(HERE_SOON, deadline_s=lambda state: 60.0)) == []


def test_nothing_is_empty() -> None:
    assert one(nodes=()) == "the workflow has no step and no wait: write one, or take the workflow out"
    assert one(BED, Parallel(())) == "a Parallel has no branches: write some, or take it out"
    says = "branch 2 of a Parallel has no step and no wait: write one, or take branch 2 of a Parallel out"
    assert one(Parallel(((BED,), ()))) == says
    assert one(Parallel(((Parallel(((BED,), ())),),))) == says


def test_what_a_failure_means_is_one_of_the_words_that_there_are() -> None:
    wrong: Any = "retry"
    assert one(replace(BED, otherwise=wrong)).endswith("otherwise is 'retry': write one of 'undo', 'go on', 'needs human'")
    told = one(replace(HERE_SOON, otherwise="wait"))  # type: ignore[arg-type]
    assert told.endswith("write one of 'undo', 'go on', 'needs human'")


def test_functions_take_what_they_are_given() -> None:
    none: Any = lambda: ""  # noqa: E731
    assert "the request of its command cannot be called with the state and the key: write a function of 2 arguments" in one(
        Step("bed", Command(RESERVE.method, none), 60)
    )
    assert "matches cannot be called with the state and the event" in one(replace(HERE_SOON, matches=none))
    assert "deadline_s cannot be called with the state: write a function of 1 argument" in one(
        replace(HERE_SOON, deadline_s=none)
    )
    assert "fails_on[MissionReported] cannot be called with" in one(replace(HERE_SOON, fails_on={MissionReported: none}))
    assert "hears[MissionReported] cannot be called with the event" in one(hears={**GOOD.hears, MissionReported: none})
    assert "undo_on[MissionReported] cannot be called with the event" in one(undo_on={MissionReported: none})


def through_another(state: SagaState) -> str:
    return str(state.answer("bad").hospital_id)


def test_a_step_that_functions_ask_for_is_there() -> None:
    says = "a function asks the state for 'bad', and nothing here is called that: do you mean bed?"
    functions: list[Any] = [
        lambda s: s.answer("bad").x,
        lambda s: 5.0 if s.answered("bad") else 6.0,
        lambda s: float(s.key("bad")),
        lambda s: float(through_another(s)),
        lambda s: [s.answer("bad") for _ in "ab"],
    ]
    for late in functions:
        assert one(BED, replace(HERE_SOON, deadline_s=late)) == says
    asks: Any = lambda s, k: s.answer("bad") or k  # noqa: E731
    assert one(replace(BED, command=Command(RESERVE.method, asks))) == says
    assert one(replace(BED, undo=Command(CANCEL.method, asks))) == says
    assert one(BED, replace(HERE_SOON, matches=lambda s, e: s.answered("bad"))) == says
    assert one(BED, replace(HERE_SOON, fails_on={MissionReported: lambda s, e: s.key("bad")})) == says
    assert of(BED, replace(HERE_SOON, deadline_s=lambda s: s.answer("bed").x)) == []


def test_a_new_word_of_the_vocabulary_is_not_passed_over_in_silence() -> None:
    class Choice:
        """A kind of node that is not known here."""

    new: Any = Choice()
    with pytest.raises(TypeError, match="Choice is a new word of the vocabulary: say here what is inside of one"):
        inside(new)
    with pytest.raises(TypeError, match="Choice"):
        problems(replace(GOOD, nodes=(Parallel(((BED, new),)),)))


def test_whoever_loads_workflows_refuses_broken_ones_in_one_line_with_each_sentence() -> None:
    broken = replace(GOOD, nodes=(replace(BED, deadline_s=0), replace(HERE_SOON, name="Here")))
    with pytest.raises(WorkflowError, match=r"deadline_s is 0.*; .*its name is 'Here'") as refused:
        SagaRunner([broken])
    assert len(refused.value.problems) == 2 and "\n" not in str(refused.value)
    with pytest.raises(WorkflowError, match="2 workflows are called transfer, version 1: give each another name or version"):
        check([GOOD, replace(GOOD)])
    check([GOOD, replace(GOOD, version=2)])


@pytest.fixture
def broken_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with a broken definition, beside those of the city."""
    (tmp_path / "broken_one.py").write_text(
        "from citybrain.sagas.workflows.emergency_response import EMERGENCY_RESPONSE as E\nfrom dataclasses import replace\n"
        "BROKEN = replace(E, name='broken_one', nodes=())\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(workflows, "__path__", [*workflows.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "citybrain.sagas.workflows.broken_one", raising=False)


@pytest.mark.usefixtures("broken_folder")
def test_the_city_does_not_start_with_a_broken_workflow_and_the_check_of_the_repository_says_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    says = "workflow broken_one, version 3: the workflow has no step and no wait: write one, or take the workflow out"
    with pytest.raises(WorkflowError, match=says):
        published()
    (found,) = check_repository._broken_workflows()
    assert says in found
    monkeypatch.setattr(check_repository, "files", list)
    monkeypatch.setattr(check_repository, "_contracts", list)
    assert check_repository.findings() == [found], "nothing that would load the service is asked then"


def test_a_service_whose_workflow_is_broken_is_refused_with_its_manifest_and_without_a_traceback(tmp_path: Path) -> None:
    script = (
        "import sys; from dataclasses import replace; from citybrain.sagas.workflows import emergency_response as e; "
        "e.EMERGENCY_RESPONSE = replace(e.EMERGENCY_RESPONSE, nodes=()); "
        "from citybrain.mesh.startup.serve import main; "
        f"sys.exit(main(['sagas', '--port', '0', '--data', {str(tmp_path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("city: ") and "sagas/manifest.yaml" in line
    assert "WorkflowError: " in line and "the workflow has no step and no wait" in line


def test_the_services_that_manifests_name_still_load() -> None:
    (manifest,) = [one for one in find_manifests(rooms()) if one.name == "sagas"]
    assert load_entry(manifest).__name__ == "SagaService"


# -- words beyond steps and waits -------------------------------------------------------------------------------------------

# What is wrong on purpose is wrong for the type checker too.
NO_ARGUMENT: Any = lambda: True  # noqa: E731
ONE_ARGUMENT: Any = lambda s: ""  # noqa: E731
SOON: Any = "soon"
ASKS = Human("evacuate", ("fire_command",), lambda s: "evacuate?", deadline_s=300)
MISSING = Reaction(RestartFrom("bed"), lambda s, e: "missing")
SCOPE = During("on_the_way", (BED, HERE_SOON), {MissionReported: MISSING})


def test_words_that_are_as_they_should_be_are_not_complained_of() -> None:
    way = Choice("which", ((lambda s: True, (replace(HERE_SOON, name="there"),)),))
    again = Repeat("again", (replace(HERE_SOON, name="once_more"),), lambda s: True, at_most=3)
    maybe = CarryOn("maybe", (replace(HERE_SOON, name="perhaps"),))
    assert problems(replace(GOOD, nodes=(SCOPE, ASKS, way, again, maybe))) == []


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (replace(ASKS, who=()), "question evacuate: asks nobody: write the authorities"),
        (replace(ASKS, who=("Fire Command",)), "question evacuate: asks 'Fire Command': write a plain word"),
        (replace(ASKS, options=("yes",)), "question evacuate: has the options ('yes',): write at least two"),
        (replace(ASKS, unanswered="no"), "question evacuate: unanswered is 'no', which is none of approve, reject"),
        (replace(ASKS, question=NO_ARGUMENT), "question evacuate: question cannot be called with the state"),
        (replace(ASKS, deadline_s=0), "question evacuate: deadline_s is 0"),
        (Choice("which", ((NO_ARGUMENT, (BED,)),)), "choice which: the condition of way 1 cannot be called with the state"),
        (Repeat("again", (BED,), lambda s: True, at_most=0), "loop again: at_most is 0: write 1 or more"),
        (Repeat("again", (BED,), NO_ARGUMENT, at_most=1), "loop again: until cannot be called with the state"),
        (replace(SCOPE, on={}), "scope on_the_way: reacts to nothing"),
        (replace(SCOPE, at_most=0), "scope on_the_way: at_most is 0"),
        (replace(SCOPE, on={VehicleMissing: MISSING}), "scope on_the_way: `on` names VehicleMissing, and `hears` does not"),
        (
            replace(SCOPE, on={MissionReported: Reaction(RestartFrom("bad"), lambda s, e: "")}),
            "scope on_the_way: on MissionReported it goes back to bad, which is not in it: do you mean bed?",
        ),
        (
            replace(SCOPE, on={MissionReported: Reaction(Redo("here"), lambda s, e: "")}),
            "scope on_the_way: on MissionReported it does here anew, which is no step of it",
        ),
        (replace(SCOPE, on={MissionReported: Reaction(Undo(), ONE_ARGUMENT)}), "on[MissionReported] cannot be called"),
        (replace(BED, late=SOON), "step bed: late is 'soon': write one of 'use', 'undo'"),
        (replace(BED, undo=None, late="undo"), "step bed: is to be undone when it is late, and has no undo"),
        (replace(BED, undo=None, clearance="fire_command"), "step bed: needs a clearance to be undone, and has no undo"),
        (replace(BED, clearance="Fire Command"), "step bed: its clearance is by 'Fire Command': write a plain word"),
        (CarryOn("maybe", ()), "branch 1 of a CarryOn has no step and no wait"),
    ],
)  # fmt: skip
def test_each_word_says_what_is_wrong_with_it(node: Node, says: str) -> None:
    assert says in one(node)
