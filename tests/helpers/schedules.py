"""Random schedules of one saga against a model of the departments: what may happen happens in any order, and processes crash.

A schedule is played from its seed alone, so a seed that failed fails again. What must hold whatever happens:

- it ends: completed, undone, or with a human asked; and where humans help, completed or undone;
- no command takes effect twice, and a step that is done took effect once;
- undo runs in exact reverse order of what was sent;
- after *undone* nothing stays reserved, though commands may come after their undo, and no child has effects;
- what is listed for people is what waits for them, no more and no less.

The kit looks besides at every input whether what is stored tells the state, and at every crash whether the same is sent again.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from citybrain.event_store.store import StoredEvent
from citybrain.mesh.errors import ServiceError
from citybrain.mesh.events import Heard, message_class
from citybrain.mesh.service import Waiting
from citybrain.sagas import listing
from citybrain.sagas.engine.checking import functions, method_of
from citybrain.sagas.engine.children import told
from citybrain.sagas.engine.decider import tries_out
from citybrain.sagas.engine.definition import Child, Human, Step, Wait, Workflow, leaves, undoable
from citybrain.sagas.engine.functions import named
from citybrain.sagas.engine.state import ENDED, UNDO, SagaState
from citybrain.sagas.testing import Story

# As the ids of incidents look, which contracts ask for; those of some sectors have another beginning.
NUMBER = "-0123456789ab"
BEGINNINGS = {"safety": "saf", "environment": "exc", "tourism": "peak"}
# Ids that some contracts ask for in a form of their own, by the names of their fields.
FORMS = {
    "source_id": "source-{:02}", "firm_id": "per-0123456789abcd{:02}", "record_id": "rec-0123456789{:02}",
    "citybrain.safety.v1.Incident.incident_id": "saf-0123456789{:02}",
}  # fmt: skip
# Numbers that mean something, by the names of their fields.
MEANT = {"level": (0, 0, 80, 90, 100)}
DEGREES = ("latitude", "longitude")
# What a command has named by its key is named so later too.
NAMED = {
    "case_id": "/open_case/", "inspection_id": "/order_inspection/", "correction_id": "/order_correction/",
    "measure_id": "/", "request_id": "/request_",
}  # fmt: skip
LONGEST = 60
PASSING = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED", "DEADLINE_EXCEEDED")
LASTING = ("FAILED_PRECONDITION", "NOT_FOUND", "INVALID_ARGUMENT")
_NUMBERS = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}
_WHOLE = {getattr(FieldDescriptor, f"CPPTYPE_{kind}") for kind in ("INT32", "INT64", "UINT32", "UINT64")}


class Flight(NamedTuple):
    """A request on its way, or what came of it on its way back."""

    name: str
    # The request id; of an undo its own.
    key: str
    # None: the undo of a child.
    request: Message | None
    result: Message | str | None = None


@dataclass
class Departments:
    """What all departments have done and hold. A request id that was used gets the same answer, and nothing is done."""

    answers: dict[str, Message] = field(default_factory=dict)
    # By request id.
    effects: Counter[str] = field(default_factory=Counter)
    held: dict[str, str] = field(default_factory=dict)
    released: set[str] = field(default_factory=set)
    # How each child ended, by the key of its step.
    children: dict[str, Literal["completed", "undone"]] = field(default_factory=dict)

    def take(self, name: str, request_id: str, reservation: str, request: Message, answer: Message) -> Message | str:
        """Carries a command out. `reservation`: the id of what it reserves; empty: nothing."""
        if request_id in self.answers:
            return self.answers[request_id]
        if reservation in self.released:
            return "FAILED_PRECONDITION"
        self.effects[request_id] += 1
        self.answers[request_id] = answer
        if name.startswith("undo "):
            # What the request names is released, and what it does not name is not.
            for text in texts(request):
                self.held.pop(text, None)
                self.released.add(text)
        elif reservation:
            self.held[reservation] = name
        return answer


class Schedule:
    """One schedule, by its seed. `beside`: the workflows of its children."""

    def __init__(self, workflow: Workflow, seed: int, needed: Set[str], beside: Sequence[Workflow] = ()) -> None:
        """`needed`: the steps whose answers the functions of the workflow ask for."""
        self.workflow = workflow
        self.seed = seed
        self.chance = random.Random(f"{workflow.name}/{workflow.version}/{seed}")
        self.departments = Departments()
        self.story = Story(workflow, beside=beside, thorough=False)
        of = workflow.starts_on.DESCRIPTOR.full_name.split(".")[1]
        self.saga = BEGINNINGS.get(of, "inc") + NUMBER
        self.flights: list[Flight] = []
        # How many answers there were, and all texts in them.
        self.known: tuple[int, list[str]] = (0, [])
        self.crashes = 0
        # Nobody skips what the rest cannot do without: its functions would have no answer to go on from.
        self.needed = needed
        self.helped = self.chance.random() < 0.5

    def play(self) -> Story:
        """Plays it to its end. AssertionError: with its seed, and what happened."""
        try:
            self.story.starts_with(self._first())
            self._fly()
            for _ in range(self.chance.randrange(LONGEST)):
                self._happen()
            self._come_to_an_end()
            self._look()
        except AssertionError as error:
            raise AssertionError(f"{self.workflow.name}, version {self.workflow.version}, seed {self.seed}: {error}") from error
        return self.story

    # -- what happens ---------------------------------------------------------------------------------------------------

    def _happen(self) -> None:
        kinds: dict[str, float] = {
            "arrives": 6, "returns": 6, "is lost": 1.5, "event": 4, "called off": 0.25, "time": 3, "stands still": 0.5,
            "crash": 1, "human": 6 if self.story.phase == "needs human" else 0.2,
        }  # fmt: skip
        (kind,) = self.chance.choices(list(kinds), list(kinds.values()))
        if kind in ("arrives", "returns", "is lost"):
            self._move(kind)
        elif kind == "event":
            self._event()
        elif kind == "called off" and self.workflow.undo_on:
            self._hear(self._message(self.chance.choice(list(self.workflow.undo_on)).DESCRIPTOR))
        elif kind == "time":
            self._time()
        elif kind == "stands still":
            self.story.stands_still(self.chance.choice([1, 60, 7200]))
        elif kind == "crash":
            self._crash()
        elif kind == "human":
            self._human()

    def _move(self, kind: str) -> None:
        back = kind == "returns"
        there = [one for one in self.flights if (one.result is not None) == back]
        if not there:
            return
        flight = self.chance.choice(there)
        self.flights.remove(flight)
        if back:
            self._return(flight)
        elif self._is_child(flight):
            # Nothing between a saga and its child is lost: it is done again until it is recorded.
            self._child_acts(flight, self.chance.choices(["completed", "undone", ""], [6, 1, 3])[0])
        elif kind == "is lost":
            self.flights.append(flight._replace(result=self.chance.choice(PASSING)))
        else:
            self._arrive(flight, self.chance.choices(["done", "no answer", "passing", "lasting"], [6, 1, 2, 0.7])[0])

    def _arrive(self, flight: Flight, how: str) -> None:
        """A request comes to its department."""
        if how == "passing":
            self.flights.append(flight._replace(result=self.chance.choice(PASSING)))
            return
        if how == "lasting":
            self.flights.append(flight._replace(result=self.chance.choice(LASTING)))
            return
        step = self._step(flight.name)
        undo = flight.name.startswith("undo ")
        command = step.undo if undo else step.command
        assert command is not None
        method = method_of(command)
        assert not isinstance(method, str) and flight.request is not None
        reservation = flight.key if step.undo is not None and not undo else ""
        answer = self._message(method.output_type)
        result = self.departments.take(flight.name, flight.key, reservation, flight.request, answer)
        self.flights.append(flight._replace(result=self.chance.choice(PASSING) if how == "no answer" else result))

    def _child_acts(self, flight: Flight, ends: str) -> None:
        """A child begins and ends, or undoes all. It is told as often as it likes, and does so once. Empty: not yet."""
        departments, key = self.departments, flight.key.removesuffix(UNDO)
        if not ends:
            self.flights.append(flight)
            return
        if flight.key != key:
            departments.effects[flight.key] = 1
            departments.held.pop(key, None)
            departments.children[key] = "undone"
        elif key not in departments.children:
            departments.effects[key] += 1
            departments.children[key] = "completed" if ends == "completed" else "undone"
            if ends == "completed":
                departments.held[key] = flight.name
        self.flights.append(flight._replace(result=departments.children[key]))

    def _child_tells(self, flight: Flight) -> None:
        """It may be told late, or twice: what counts is how the child stands now."""
        key = flight.key.removesuffix(UNDO)
        child = SagaState(saga_id=key.replace("/", "."), parent_key=key, phase=self.departments.children[key])
        self.story._put(*told(child)(self.story.state))
        self._fly()

    def _is_child(self, flight: Flight) -> bool:
        return isinstance(self.workflow.leaf(flight.name.removeprefix("undo ")), Child)

    def _return(self, flight: Flight) -> None:
        """What came of a request comes back; nobody waits for it if the saga went another way."""
        if self._is_child(flight):
            self._child_tells(flight)
            return
        if (flight.name, flight.key) not in self._out():
            return
        step, result = self._step(flight.name), flight.result
        if isinstance(result, str):
            self.story.fails(step.name, result, "so it is")
        elif flight.name.startswith("undo "):
            self.story.undone(step.name)
        else:
            self.story.answers(step.name, result)
        self._fly()

    def _event(self) -> None:
        waiting = [name for name, step in self.story.state.steps.items() if step.status == "waiting"]
        waits = [one for one in leaves(self.workflow.nodes) if isinstance(one, Wait)]
        due = [one for one in waits if one.name in waiting]
        # Mostly what is waited for, also too early or once more.
        wait = self.chance.choice(due if due and self.chance.random() < 0.7 else waits) if waits else None
        heard = [event for event in self.workflow.hears if event not in self.workflow.undo_on]
        if wait is None or self.chance.random() < 0.2:
            self._hear(self._message(self.chance.choice(heard).DESCRIPTOR))
            return
        kinds: list[Any] = [*wait.events * 3, *wait.fails_on]
        kind = self.chance.choice(kinds)
        for _ in range(30):
            message = self._message(kind.DESCRIPTOR)
            if kind not in wait.events or wait.name not in waiting or wait.matches(self.story.state, message):
                break
        self._hear(message)

    def _hear(self, message: Message) -> None:
        late = self.chance.choice([0, 0, 0, 1, 30, 600])
        self.story.hears(message, at=max(0.0, self.story.now - late))
        self._fly()

    def _time(self) -> None:
        timers = list(self.story.timers().values())
        until_next = [max(0.0, min(timers))] if timers else []
        self.story.time_passes(self.chance.choice([0.5, 3, 20, *until_next * 4, 400]))
        self._fly()

    def _crash(self) -> None:
        """What was on its way back is lost; what was on its way to a department may come yet, beside what is sent again.

        A child tells again what it has told nobody.
        """
        self.crashes += 1
        self.flights = [one for one in self.flights if one.result is None or self._is_child(one)]
        self.story.crashes()
        self._fly()

    def _human(self) -> None:
        how = self.chance.choice(["resumes", "resumes", "skips", "gives up", "decides", "decides", "clears"])
        begun = list(self.story.state.steps)
        if how in ("decides", "clears"):
            self._decide(how)
        elif how == "resumes":
            if self.story.phase == "needs human":
                self.story.human_resumes()
        elif begun:
            name = self.chance.choice(begun)
            decide = self.story.human_skips if how == "skips" and self._may_skip(name) else self.story.human_gives_up
            try:
                decide(name)
            except ServiceError:
                return
        self._fly()

    def _decide(self, how: str) -> bool:
        """A person of an authority answers what is asked, or clears an undo. False: nothing is asked."""
        before = len(self.story.recorded)
        for leaf in leaves(self.workflow.nodes):
            with contextlib.suppress(ServiceError):
                if how == "decides" and isinstance(leaf, Human):
                    self.story.human_decides(leaf.name, self.chance.choice(leaf.options))
                elif how == "clears" and isinstance(leaf, Step) and leaf.clearance:
                    self.story.human_clears(leaf.name)
            self._fly()
        return len(self.story.recorded) > before

    def _may_skip(self, name: str) -> bool:
        return name not in self.needed or self.story.state.undo_begun

    def _fly(self) -> None:
        """What was sent is on its way."""
        self.flights += [Flight(name, self.story.keys[name], self.story.requests.get(name)) for name in self.story.sent()]
        # It is sent once.
        self.story.stands_still(0)

    # -- the end --------------------------------------------------------------------------------------------------------

    def _come_to_an_end(self) -> None:
        """From here on everything works, time goes on, and where humans help they do."""
        for _ in range(400):
            while self.flights:
                flight = self.flights.pop(0)
                if flight.result is not None:
                    self._return(flight)
                elif self._is_child(flight):
                    self._child_acts(flight, "completed")
                else:
                    self._arrive(flight, "done")
            timers = self.story.timers().values()
            if self.story.phase in ("completed", "undone"):
                return
            if timers:
                self.story.time_passes(max(0.0, min(timers)))
                self._fly()
            elif self.story.phase == "needs human":
                if not self.helped:
                    return
                self._help()
            else:
                break
        assert self.story.phase in ("completed", "undone", "needs human"), f"it ends nowhere: {self.story.phase}\n{self.story}"
        assert not self.helped, f"humans help, and it comes to no end\n{self.story}"

    def _help(self) -> None:
        if self._decide("decides") or self._decide("clears"):
            self._fly()
            return
        asked = [name for name, step in self.story.state.steps.items() if step.status in ("failed", "timed out")]
        stuck = self.workflow.leaf(asked[0]) if asked else None
        of_many = isinstance(stuck, Wait) and len(stuck.events) > 1 and self.chance.random() < 0.5
        if isinstance(stuck, Wait) and not self.story.state.undo_begun and (of_many or not self._may_skip(stuck.name)):
            # They see to it that it happens.
            self._hear(self._message(self.chance.choice(stuck.events).DESCRIPTOR))
            return
        if not self.story.state.undo_begun and asked and self._may_skip(asked[0]) and self.chance.random() < 0.5:
            self.story.human_skips(asked[0])
        else:
            self.story.human_resumes()
        self._fly()

    def _look(self) -> None:
        """What must hold, whatever happened."""
        story, departments = self.story, self.departments
        twice = {name: count for name, count in departments.effects.items() if count > 1}
        assert not twice, f"took effect more than once: {twice}\n{story}"
        may_be = [one for one in story.state.attempts() if one.number and undoable(self.workflow.leaf(one.name))]
        sent = [one.key for one in sorted(may_be, key=lambda one: one.number)]
        skipped = {one.key for one in may_be if one.undo == "skipped"}
        # What was taken back while the saga went on, it was before all was undone.
        before: list[str] = []
        undone: list[str] = []
        for event in story.recorded:
            if isinstance(event, ev.UndoBegan):
                before, undone = undone, []
            elif isinstance(event, ev.UndoSent) and (key := event.key.removesuffix(UNDO)) not in [*before, *undone]:
                undone.append(key)
        if not story.state.undo_begun:
            before, undone = undone, []
        wanted = [key for key in reversed(sent) if key not in before]
        whole = len(wanted) if story.phase == "undone" else len(undone)
        # One that a person let be was not sent again.
        wanted = [key for key in wanted if key not in skipped or key in undone][:whole]
        assert undone == wanted, f"sent were {sent}, and undone {undone}\n{story}"
        if story.phase == "undone":
            left = {key: step for key, step in departments.held.items() if key not in skipped}
            assert not left, f"stays reserved: {left}\n{story}"
        for one in story.state.attempts():
            if one.status == "done" and one.key:
                times = departments.effects[one.key]
                assert times == 1, f"{one.name} is done, and was carried out {times} times\n{story}"
        listed, waits = tasks_listed(story.recorded), tasks_of(story.state)
        assert listed == waits, f"for people are listed {listed}, and {waits} wait for them\n{story}"

    # -- messages -------------------------------------------------------------------------------------------------------

    def _first(self) -> Message:
        """An event that begins a saga of this name."""
        event = self._message(self.workflow.starts_on.DESCRIPTOR)
        whose = self.workflow.hears[self.workflow.starts_on]
        for each in self.workflow.starts_on.DESCRIPTOR.fields:
            if each.type == FieldDescriptor.TYPE_STRING and not each.is_repeated and whose(event) != self.saga:
                before = getattr(event, each.name)
                setattr(event, each.name, self.saga)
                if whose(event) != self.saga:
                    setattr(event, each.name, before)
        return event

    def _message(self, descriptor: Any, depth: int = 0) -> Message:
        """A message with all of its fields, such as a contract allows. Its texts are often those that the saga knows."""
        message = message_class(descriptor.full_name)()
        for each in descriptor.fields:
            if each.is_repeated:
                if each.message_type is None or (depth < 3 and not each.message_type.GetOptions().map_entry):
                    getattr(message, each.name).extend(self._value(each, depth) for _ in range(self.chance.randint(1, 3)))
            elif each.message_type is None:
                setattr(message, each.name, self._value(each, depth))
            elif depth < 3:
                getattr(message, each.name).CopyFrom(self._value(each, depth))
        return message

    def _value(self, each: FieldDescriptor, depth: int) -> Any:
        if each.message_type is not None:
            return self._message(each.message_type, depth + 1)
        if each.enum_type is not None:
            numbers = [value.number for value in each.enum_type.values]
            return self.chance.choice(numbers[1:] or numbers)
        if each.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return self.chance.random() < 0.5
        if each.cpp_type in _NUMBERS:
            return round(self.chance.uniform(0, 90 if each.name in DEGREES else 300), 1)
        if each.name in MEANT:
            return self.chance.choice(MEANT[each.name])
        if each.cpp_type in _WHOLE:
            return self.chance.randint(0, 9)
        text = self._text(each)
        return text.encode() if each.type == FieldDescriptor.TYPE_BYTES else text

    def _text(self, each: FieldDescriptor) -> str:
        state = self.story.state
        if state.input is not None and getattr(state.input, each.name, "") == self.saga and self.chance.random() < 0.95:
            return self.saga
        if (form := FORMS.get(each.full_name) or FORMS.get(each.name)) is not None:
            return form.format(self.chance.randint(1, 99))
        keys = [key for key in self.story.keys.values() if NAMED.get(each.name, "\0") in key]
        if keys and self.chance.random() < 0.9:
            return self.chance.choice(keys).removesuffix(UNDO)
        if self.known[0] != len(state.answers):
            self.known = (len(state.answers), [text for answer in state.answers.values() for text in texts(answer)])
        if self.known[1] and self.chance.random() < 0.3:
            return self.chance.choice(self.known[1])
        return f"{each.name}-{self.chance.randint(1, 99)}"

    def _out(self) -> list[tuple[str, str]]:
        """What is out: names as the story has them, and keys."""
        return [(f"undo {one.step}" if one.undo else one.step, one.key) for one in tries_out(self.story.state)]

    def _step(self, name: str) -> Step:
        step = self.workflow.leaf(name.removeprefix("undo "))
        assert isinstance(step, Step)
        return step


def tasks_listed(events: Iterable[Message]) -> set[tuple[str, str, str]]:
    """What the list of tasks has of a saga: kinds, names and keys."""
    row: Waiting | None = None
    for version, event in enumerate(events):
        name = event.DESCRIPTOR.full_name
        stored = StoredEvent(str(version), name, b"", 1, "", "", "", "", "", 0, f"sagas/saga-inc{NUMBER}", version, 0, 1)
        if type(event) in listing.WAITING_EVENTS:
            row = listing.waits(row, Heard(event, stored))
    return {(one.kind, one.name, one.key) for one in (row.tasks if row is not None else ())}


def tasks_of(state: SagaState) -> set[tuple[str, str, str]]:
    """What waits for people, as the saga stands."""
    if state.phase in ENDED:
        return set()
    attempts = [
        one for one in state.attempts() if one.clearance_asked and not one.cleared and one.undo not in ("done", "skipped")
    ]
    clearances = {(listing.CLEARANCE, one.name, one.key) for one in attempts}
    asked = [name for name, one in state.steps.items() if one.kind == "question" and one.status in ("asked", "timed out")]
    questions = set() if state.undo_begun else {(listing.QUESTION, name, "") for name in asked}
    trouble = {(listing.TROUBLE, state.asked_for, "")} if state.phase == "needs human" else set()
    return clearances | questions | trouble


def texts(message: Message) -> Iterator[str]:
    """All texts in a message, at any depth."""
    for each, value in message.ListFields():
        for one in value if each.is_repeated else [value]:
            if isinstance(one, str):
                yield one
            elif isinstance(one, Message):
                yield from texts(one)


def play(workflow: Workflow, seeds: range, beside: Sequence[Workflow] = ()) -> Counter[str]:
    """Plays many schedules; how often each end was reached, and how many crashes there were."""
    ends: Counter[str] = Counter()
    needed = {name for function in functions(workflow) for name in named(function, ["answer"])}
    for seed in seeds:
        schedule = Schedule(workflow, seed, needed, beside)
        ends[schedule.play().phase] += 1
        ends["crashes"] += schedule.crashes
    return ends
