"""Tests a workflow without a server: a story of what happens to one saga, in city time that jumps.

    story = Story(WORKFLOW).starts_with(IncidentOpened(incident_id="inc-1"))
    story.answers("reserve_ambulance", answer).must_send("reserve_bed")
    story.time_passes(600).must_be("needs human")

A story checks more than it is asked. Its definition must be sound. Each command is really made, and held to its contract, so
a function that raises fails the test. After every input the events are folded anew from their bytes, and must tell the same
state: what is stored is enough to go on after a crash. It imports no test runner. The module is long because all of this looks
at the same story.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, Self

import grpc
from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from typing_extensions import override

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.events import message_class, microseconds, timestamp, type_name
from citybrain.mesh.runtime.validation import check
from citybrain.sagas.engine import children, persons
from citybrain.sagas.engine.checking import check as check_definitions
from citybrain.sagas.engine.checking import method_of
from citybrain.sagas.engine.decider import Try, due_timers, on_failure, on_undo_failure, react, seen_by, tries_out
from citybrain.sagas.engine.definition import Child, Command, Step, Workflow
from citybrain.sagas.engine.state import ENDED, UNDO, Phase, SagaState, StepState, evolve, pack

__all__ = ["Story", "StoryError"]

_SECOND = 1_000_000
# The first of January 2026, when every story begins.
_START = 1_767_225_600 * _SECOND
# Definitions that have been looked at.
_SOUND: list[tuple[Workflow, ...]] = []


class StoryError(AssertionError):
    """Something is not as the test says, or as every workflow must be. The text has the story so far."""


class Story:
    """What happens to one saga of a workflow. Each method that tells of something returns the story, to go on from there.

    Times are seconds of city time. Steps, waits and undos are named as the definition names them; the undo of `a` is `undo a`.
    WorkflowError: the definition is broken.
    """

    def __init__(self, workflow: Workflow, *, beside: Sequence[Workflow] = (), thorough: bool = True) -> None:
        """`beside`: the workflows that its sagas start, or that start it as a child. `thorough`: after each input everything is
        folded anew and decided twice. False: only what is new is folded, and all at a crash; for thousands of stories.
        """
        together = (workflow, *beside)
        if not any(len(one) == len(together) and all(map(operator.is_, one, together)) for one in _SOUND):
            check_definitions(together)
            _SOUND.append(together)
        self.workflow = workflow
        self._begun_with = {one.name: one.starts_on for one in sorted(beside, key=lambda one: one.version)}
        self.state = SagaState()
        """Where the saga stands."""
        self.requests: dict[str, Any] = {}
        """The newest request of each command that was sent, by its step; that of an undo by `undo ` and the step. Of a child
        it is what the child begins with.
        """
        self.keys: dict[str, str] = {}
        """The ids of these requests, in the same way."""
        self._now = _START
        self._thorough = thorough
        self._fold = (0, SagaState())
        self._stored: list[tuple[type[Message], bytes, int]] = []
        self._events: list[Message] = []
        self._inputs = 0
        self._sent: list[str] = []
        self._heard = 0

    # -- what happens ---------------------------------------------------------------------------------------------------

    def starts_with(self, event: Message, exercise: str = "") -> Self:
        """The event that begins the saga. `exercise`: the drill in which it is; empty: in none.

        StoryError: the event does not begin a saga of this workflow.
        """
        if self._stored:
            self._fail("it has begun already")
        if type(event) is not self.workflow.starts_on:
            self._fail(f"{self.workflow.name} starts on {type_name(self.workflow.starts_on)}, not on {type_name(event)}")
        whose = self.workflow.hears.get(type(event))
        # What begins as a child only, no event begins.
        saga_id = "child" if whose is None else self._ask(whose, event)
        if not saga_id:
            self._fail(f"`hears` gives no id of a saga for {type_name(event)}: give the event what it needs")
        name, version = self.workflow.name, self.workflow.version
        started = ev.SagaStarted(saga_id=saga_id, workflow=name, workflow_version=version, exercise=exercise)
        started.input.CopyFrom(pack(event))
        return self._put(started)

    def answers(self, step: str, response: Message | None = None) -> Self:
        """The department did what a step asks for. `response`: what it says; an empty message where nothing is given."""
        out = self._out(step, undo=False)
        expected = self._response(step)
        response = expected() if response is None else response
        if type_name(response) != type_name(expected):
            self._fail(f"{step} is answered with {type_name(expected)}, not with {type_name(response)}")
        return self._put(ev.StepAnswered(step=step, key=out.key, response=pack(response)))

    def child_ends(self, step: str, phase: Phase = "completed", reason: str = "") -> Self:
        """The child of a step has ended: completed, undone, or terminated by a person. It may be late, or be told to undo.

        StoryError: no child was started for the step.
        """
        one = self._child_of(step)
        if phase not in ENDED:
            self._fail(f"a child cannot end as {phase!r}: write one of {', '.join(ENDED)}")
        child = SagaState(saga_id=one.child, parent=self.state.saga_id, parent_key=one.key, phase=phase, reason=reason)
        return self._put(*children.told(child)(self.state))

    def fails(self, step: str, code: str = "FAILED_PRECONDITION", message: str = "no") -> Self:
        """The command of a step failed, or its undo, if that is what is out. `code`: the name of a gRPC status.

        Some codes mean that it may be tried again (UNAVAILABLE, RESOURCE_EXHAUSTED …), the others are answers.
        """
        if code not in grpc.StatusCode.__members__ or code == "OK":
            self._fail(f"{code!r} is no failure: write one of {', '.join(sorted(set(grpc.StatusCode.__members__) - {'OK'}))}")
        undo = not any(one.step == step and not one.undo for one in tries_out(self.state)) and any(
            one.undo for one in tries_out(self.state)
        )
        out = self._out(step, undo=undo)
        self._step(step)
        if undo:
            return self._put(on_undo_failure(self.state, step, out.key, code, message, self._now))
        return self._put(on_failure(self.workflow, self.state, step, out.key, code, message, self._now))

    def undone(self, step: str) -> Self:
        """The department took back what a step had done."""
        return self._put(ev.UndoAnswered(step=step, key=self._out(step, undo=True).key))

    def hears(self, event: Message, at: float | None = None) -> Self:
        """Something happens elsewhere. `at`: when, in seconds since the story began; None: now. It may be heard late.

        What is about another saga, or comes after the end, changes nothing, as in the city.
        """
        if type(event) not in self.workflow.hears:
            self._fail(f"{self.workflow.name} does not hear {type_name(event)}: its `hears` does not name it")
        mine = self._ask(self.workflow.hears[type(event)], event) == self.state.saga_id
        if not mine or type(event) is self.workflow.starts_on or self.phase in ENDED:
            return self._put()
        self._heard += 1
        happened = self._now if at is None else _START + round(at * _SECOND)
        return self._put(ev.EventHeard(event_id=f"event-{self._heard}", event=pack(event), occurred_at=timestamp(happened)))

    def time_passes(self, seconds: float) -> Self:
        """City time goes on. All that is due until then happens at its moment: retries, deadlines, the ends of waits."""
        until, sent, before = self._now + round(seconds * _SECOND), [], len(self._events)
        fired: set[tuple[int, str]] = set()
        while (due := min(due_timers(self.state), default=None)) is not None and due[0] <= until:
            if due in fired:
                self._fail(f"timer {due[1]} fires again and again: nothing follows from it")
            fired.add(due)
            self._now = max(self._now, due[0])
            self._put(ev.TimerFired(timer=due[1]))
            sent += self._sent
        self._now, self._sent, self._inputs = until, sent, before
        return self

    def stands_still(self, seconds: float) -> Self:
        """City time goes on while no process carries the saga on. What came due meanwhile is done when time passes next."""
        self._now += round(seconds * _SECOND)
        self._sent, self._inputs = [], len(self._events)
        return self

    def human_resumes(self) -> Self:
        """A person has mended the cause. StoryError: no human is needed."""
        if self.phase != "needs human":
            self._fail(f"no human is needed: it is {self.phase}")
        return self._put(ev.SagaResumed())

    def human_skips(self, step: str, reason: str = "it was done by hand", by: str = "somebody") -> Self:
        """A person has the saga go on without a step or a wait, or without undoing it. Refused: that is not possible now."""
        return self._put(*persons.skip(self.state, step, reason, by))

    def human_gives_up(self, step: str, reason: str = "it never will be", by: str = "somebody") -> Self:
        """A person gives a step or a wait up, and all is undone. Refused: that is not possible now."""
        return self._put(*persons.fail(self.state, step, reason, by))

    def human_decides(
        self, question: str, option: str, by: str = "somebody", may: Callable[[str], bool] = lambda authority: True
    ) -> Self:
        """A person answers a question. `may`: for which authorities they may act. Refused, Forbidden, BadRequest: not so."""
        return self._put(*persons.decide(self.workflow, self.state, question, option, "so it is", by, may))

    def human_clears(self, step: str, by: str = "somebody", may: Callable[[str], bool] = lambda authority: True) -> Self:
        """A person lets a step be undone which protects life. Refused: it is not to be undone now."""
        return self._put(*persons.clear(self.workflow, self.state, step, "nobody is in danger", by, may))

    def crashes(self) -> Self:
        """The process ends, and another goes on with nothing but what is stored: what is out is sent again, and is the same."""
        self.state = self._folded(anew=True)
        self._sent, self._inputs = [], len(self._events)
        for one in tries_out(self.state):
            name, before = _named(one), self.requests.get(_named(one))
            self._make(one)
            if before is not None and self.requests[name] != before:
                self._fail(f"{name} is another request after a crash, under the same key: {_brief(self.requests[name])}")
        return self

    # -- where it stands ------------------------------------------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """new, running, needs human, undoing, completed or undone."""
        return self.state.phase

    @property
    def reason(self) -> str:
        """Why a human is needed, or why it is undone."""
        return self.state.reason

    @property
    def now(self) -> float:
        """Seconds since the story began."""
        return (self._now - _START) / _SECOND

    @property
    def followed(self) -> list[str]:
        """What followed from the last input, as the events that are recorded after it: `StepSent a`."""
        return [_told(event) for event in self._events[self._inputs :] if not isinstance(event, ev.TimerFired)]

    @property
    def recorded(self) -> list[Message]:
        """All events of the saga, inputs and what followed."""
        return list(self._events)

    def sent(self) -> list[str]:
        """The commands that went out since the last input, in order."""
        return list(self._sent)

    def out(self) -> list[str]:
        """The commands that have no answer yet."""
        return [_named(one) for one in tries_out(self.state)]

    def timers(self) -> dict[str, float]:
        """The moments at which something is due, in seconds from now, by the names of steps and waits."""
        due = {}
        for moment, name in sorted(due_timers(self.state), reverse=True):
            due[name.split("/")[1]] = (moment - self._now) / _SECOND
        return dict(reversed(due.items()))

    # -- what the test expects ------------------------------------------------------------------------------------------

    def must_send(self, *names: str) -> Self:
        """These commands went out since the last input, in this order, and no others. StoryError: with what did."""
        if self._sent != list(names):
            self._fail(f"it should have sent {_listed(names)}, and sent {_listed(self._sent)}")
        return self

    def must_be(self, phase: Phase, because: str = "") -> Self:
        """The saga is there now. `because`: a part of its reason. StoryError: it is elsewhere."""
        if self.phase != phase or because not in self.reason:
            wanted = f"{phase}, because of {because!r}" if because else phase
            self._fail(f"it should be {wanted}, and is {self.phase}" + (f" ({self.reason})" if self.reason else ""))
        return self

    @override
    def __str__(self) -> str:
        lines = [
            f"{(at - _START) / _SECOND:>10g} s  {_told_whole(event)}"
            for event, (_, _, at) in zip(self._events, self._stored, strict=True)
        ]
        return "\n".join([f"{self.workflow.name}, version {self.workflow.version}:", *lines])

    # -- inside ---------------------------------------------------------------------------------------------------------

    def _put(self, *inputs: Message) -> Self:
        """Takes inputs in, and records what follows, as the city does in one append."""
        if not self._stored and not (inputs and isinstance(inputs[0], ev.SagaStarted)):
            self._fail("it has not begun: tell first what it starts_with")
        before = set(tries_out(self.state))
        events, state = self._ask(react, self.workflow, self.state, inputs, self._now)
        # Asked again it must not need to look at what it has looked at.
        again = events
        if self._thorough:
            again = self._ask(functools.partial(react, settled=True), self.workflow, self.state, inputs, self._now)[0]
        self._inputs = len(self._events) + len(inputs)
        self._events += events
        self._stored += [_stored(event, self._now) for event in events]
        if events != again:
            self._fail(
                "asked twice it decides differently: its functions may use the state and nothing else, no clock, no chance"
            )
        self.state = state
        self._compare(state, self._folded(anew=self._thorough))
        self._look(events)
        self._sent = []
        for one in tries_out(state):
            if one not in before:
                self._make(one)
        return self

    def _folded(self, *, anew: bool) -> SagaState:
        """The state as what is stored tells it. `anew`: from the first event; else from where the last fold ended."""
        done, state = (0, SagaState()) if anew else self._fold
        for kind, data, at in self._stored[done:]:
            state = evolve(state, kind.FromString(data), at)
        self._fold = (len(self._stored), state)
        return state

    def _compare(self, state: SagaState, folded: SagaState) -> None:
        if state != folded:
            names = [one.name for one in dataclasses.fields(state) if getattr(state, one.name) != getattr(folded, one.name)]
            self._fail(f"what is stored does not tell the state: {', '.join(names)} would be lost by a crash")

    def _look(self, events: Sequence[Message]) -> None:
        for event in events:
            if isinstance(event, ev.WaitBegan | ev.HumanAsked) and microseconds(event.deadline) <= self._now:
                seconds = (microseconds(event.deadline) - self._now) / _SECOND
                self._fail(f"{event.step}: its deadline_s gives {seconds:g} here: it must be more than 0")

    def _make(self, one: Try) -> None:
        """Makes a request as it is sent, and looks whether its department would take it."""
        name, leaf = _named(one), self.workflow.leaf(one.step)
        if isinstance(leaf, Child):
            self._make_child(leaf, one)
            return
        step = self._step(one.step)
        command = step.undo if one.undo else step.command
        assert command is not None
        # The request of an undo names the command that it undoes.
        key = one.key.removesuffix(UNDO)
        request = self._request(name, command, key, seen_by(self.state, one))
        if step.undo is not None and key not in _texts(request):
            self._fail(
                f"the key of {one.step} ({key}) is not in the request of {name}, so its undo names nothing: {_brief(request)}"
            )
        self.requests[name], self.keys[name] = request, one.key
        self._sent.append(name)

    def _make_child(self, leaf: Child, one: Try) -> None:
        """What a child begins with is made, and is what its workflow begins with. Its undo has no request."""
        name = _named(one)
        if not one.undo:
            given, begins = self._ask(leaf.input, self.state), self._begun_with[leaf.workflow]
            if type(given) is not begins:
                made = type_name(given) if isinstance(given, Message) else repr(given)
                self._fail(f"{name} makes {made}, and {leaf.workflow} begins with {type_name(begins)}")
            if self._thorough and given != leaf.input(self.state):
                self._fail(f"made twice, the input of {name} differs: it may use the state, no clock, no chance")
            self.requests[name] = given
        self.keys[name] = one.key
        self._sent.append(name)

    def _child_of(self, step: str) -> StepState:
        """The newest attempt of a step that has a child; of those that are taken back, the one whose turn it is."""
        mine = [one for one in self.state.attempts() if one.name == step and one.child]
        if not mine:
            begun = _listed([one.name for one in self.state.attempts() if one.child])
            self._fail(f"no child was started for {step!r}; children have: {begun}")
        return next((one for one in mine if one.undo == "sent"), mine[-1])

    def _request(self, name: str, command: Command, key: str, state: SagaState) -> Message:
        method = method_of(command)
        assert not isinstance(method, str)
        request = self._ask(command.request, state, key)
        if not isinstance(request, Message) or type_name(request) != method.input_type.full_name:
            made = type_name(request) if isinstance(request, Message) else repr(request)
            self._fail(f"{name} makes {made}, and {command.method} takes {method.input_type.full_name}")
        if self._thorough and request != command.request(state, key):
            self._fail(f"made twice, the request of {name} differs: it may use the state and the key, no clock, no chance")
        try:
            check(request)
        except BadRequest as broken:
            self._fail(f"{command.method} would refuse the request of {name}: {broken}: {_brief(request)}", broken)
        return request

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls what belongs to the definition; what it raises is told with the story."""
        try:
            return function(*arguments)
        except Exception as error:
            code = getattr(function, "__code__", None)
            own = code is None or code.co_filename == react.__code__.co_filename
            where = "" if code is None or own else f" ({code.co_filename}:{code.co_firstlineno})"
            self._fail(f"a function of the definition raised {error!r}{where}", error)

    def _out(self, step: str, *, undo: bool) -> Try:
        if not self._is_child(step):
            self._step(step)
        for one in tries_out(self.state):
            if (one.step, one.undo) == (step, undo):
                return one
        self._fail(f"{'undo ' * undo}{step} is not out: out is {_listed(self.out())}")

    def _is_child(self, name: str) -> bool:
        return any(isinstance(leaf, Child) and leaf.name == name for leaf in self.workflow.leaves())

    def _step(self, name: str) -> Step:
        steps = {leaf.name: leaf for leaf in self.workflow.leaves() if isinstance(leaf, Step)}
        if self._is_child(name):
            self._fail(f"{name} is a child: say with child_ends how it ends")
        if name not in steps:
            self._fail(f"{self.workflow.name} has no step {name!r}; its steps are {_listed(steps)}")
        return steps[name]

    def _response(self, step: str) -> type[Message]:
        method = method_of(self._step(step).command)
        assert not isinstance(method, str)
        return message_class(method.output_type.full_name)

    def _fail(self, what: str, cause: BaseException | None = None) -> NoReturn:
        raise StoryError(f"{what}\n{self}") from cause


def _stored(event: Message, at: int) -> tuple[type[Message], bytes, int]:
    """An event as the log keeps it: its type, its bytes, its moment."""
    return type(event), event.SerializeToString(deterministic=True), at


def _named(one: Try) -> str:
    return f"undo {one.step}" if one.undo else one.step


def _told(event: Message) -> str:
    return " ".join(filter(None, [type(event).__name__, getattr(event, "step", "")]))


def _told_whole(event: Message) -> str:
    said = [_told(event), getattr(event, "timer", "")]
    if isinstance(event, ev.EventHeard | ev.SagaStarted):
        said.append((event.event if isinstance(event, ev.EventHeard) else event.input).type_url.rpartition(".")[2])
    if reason := ": ".join(
        filter(None, [getattr(event, "code", ""), getattr(event, "message", ""), getattr(event, "reason", "")])
    ):
        said.append(f"({reason})")
    return " ".join(filter(None, said))


def _listed(names: Sequence[str] | dict[str, Any] | list[str]) -> str:
    return ", ".join(names) or "nothing"


def _brief(message: Message) -> str:
    return text_format.MessageToString(message, as_one_line=True, as_utf8=True)


def _texts(message: Message) -> Iterator[str]:
    """All texts in a message, at any depth."""
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        if field.type == FieldDescriptor.TYPE_STRING:
            yield from values
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in values:
                yield from _texts(inner) if isinstance(inner, Message) else ()
