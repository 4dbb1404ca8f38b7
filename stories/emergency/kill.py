"""The kill in the demo: the whole mesh ends by SIGKILL at a recorded step, comes back, and is checked from outside."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from citybrain.events.v1.event_pb2 import Event
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.sagas.v1 import saga_service_pb2 as pb
from citybrain.sagas.v1.saga_service_pb2_grpc import SagaServiceStub

from citybrain.local.calling import channel as channel_to
from citybrain.local.city import LocalCity
from citybrain.mesh.events import message_class
from citybrain.stories.emergency.observer import Observer

_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Killed:
    """What a kill cost. `step` and `went_on_at`: numbers of workflow steps, from 1 to `steps`."""

    step: int
    steps: int
    name: str
    back_in_s: float
    acknowledged: int
    lost: int
    went_on_at: int

    def english(self) -> str:
        """One line."""
        return (
            f"killed at step {self.step} of {self.steps} ({self.name}) · back in {self.back_in_s:.1f} s · "
            f"{self.lost} of {self.acknowledged} acknowledged events lost · went on at step {self.went_on_at}"
        )

    def chinese(self) -> str:
        """The same line in Chinese."""
        return (
            f"在第 {self.step}/{self.steps} 步（{self.name}）强行终止 · {self.back_in_s:.1f} 秒后恢复 · "
            f"已确认的 {self.acknowledged} 个事件丢失 {self.lost} 个 · 从第 {self.went_on_at} 步继续"
        )


class Killer:
    """Kills once, when the workflow of the first incident records that it begins a certain step."""

    def __init__(self, city: LocalCity, address: str, steps: list[str], step: int) -> None:
        self._city = city
        self._address = address
        self._steps = steps
        self._target = steps[step - 1]
        self._due = threading.Event()
        self._done = threading.Event()
        self._incident = ""
        self._observer: Observer | None = None
        self.outcome: Killed | None = None
        self.error: Exception | None = None
        threading.Thread(target=self._run, daemon=True, name="killer").start()

    def watch(self, observer: Observer) -> None:
        """Takes this observer's record as the acknowledged events."""
        self._observer = observer

    def seen(self, incident: str, event: Event) -> None:
        """Looks at an event that the observer was shown."""
        if not self._due.is_set() and event.type in (_SENT, _WAITING):
            message = message_class(event.type).FromString(event.data.value)
            if isinstance(message, ev.StepSent | ev.WaitBegan) and message.step == self._target:
                self._incident = incident
                self._due.set()

    def wait(self) -> Killed | None:
        """What the kill cost, or None where its step never came."""
        if self._due.is_set():
            self._done.wait(_LIMIT_S)
        if self.error is not None:
            raise self.error
        return self.outcome

    def _run(self) -> None:
        self._due.wait()
        try:
            assert self._observer is not None
            self._city.kill()
            known = self._observer.known()
            began = time.monotonic()
            self._city.start_again()
            back = time.monotonic() - began
            at = self._standing()
            lost = self._observer.lost(known)
            self.outcome = Killed(
                step=self._steps.index(self._target) + 1,
                steps=len(self._steps),
                name=self._target,
                back_in_s=back,
                acknowledged=sum(map(len, known.values())),
                lost=lost,
                went_on_at=at,
            )
        except Exception as error:
            self.error = error
        finally:
            self._done.set()

    def _standing(self) -> int:
        """Where the workflow stands, as the restarted mesh itself tells it: the first step that has begun and not ended.

        Between two steps it is the one after the last. A step of a choice that went another way never begins.
        """
        with channel_to(self._address, self._city.token) as channel:
            request = pb.GetSagaRequest(saga_id=self._incident)
            stub = SagaServiceStub(channel)  # type: ignore[no-untyped-call]
            saga = stub.GetSaga(request, timeout=_LIMIT_S, wait_for_ready=True).saga
        begun = [
            (number, step.status in ("done", "skipped"))
            for number, step in enumerate(saga.steps, 1)
            if step.status != _NOT_BEGUN
        ]
        open_steps = [number for number, ended in begun if not ended]
        after_them = max((number for number, ended in begun if ended), default=0) + 1
        return open_steps[0] if open_steps else min(after_them, len(saga.steps))


_SENT = "citybrain.sagas.v1.StepSent"
_WAITING = "citybrain.sagas.v1.WaitBegan"
_NOT_BEGUN = "not begun"
