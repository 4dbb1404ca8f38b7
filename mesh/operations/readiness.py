"""Whether each service of this process is ready. This follows from what it depends on: store, views, groups, neighbours …

Only its own troubles make a service not ready: the store or the views fail, a read model has not caught up since the start, or
its rows cannot be read. A neighbour that is out, a group that fails, or rows that other code has folded, are reported under a
name of their own, and the service goes on taking calls.
Otherwise one service that is out would make every service that calls it not ready, and all they can still do would be lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from citybrain.mesh.entrypoints.base import CityEntrypoint
from citybrain.mesh.entrypoints.passed import Passed
from citybrain.mesh.entrypoints.timers import Timer
from citybrain.mesh.entrypoints.windows import Windows
from citybrain.mesh.providers.views import View
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.subscriptions.groups import ServiceReadModels, Standing
from citybrain.observability.logs import logger
from citybrain.observability.words import counted

# How often everything is looked at; sooner while a service is not ready.
_LOOK_S = 1.0
_SOON_S = 0.1
# The store is tested by writing to it, so not at each look while all is well.
_TRY_STORE_S = 5.0
# How long a look at one thing may take.
_ANSWER_S = 2.0
# A group that fails for a shorter time is not reported.
FAILING_S = 2.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something is not ready; `stops`: the service that depends on it is not ready either."""

    reason: str
    stops: bool = False


Look = Callable[["ServiceState"], Awaitable[Trouble | None]]


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something a service depends on. `name`: as in health checks. `own`: if the look fails, the service is not ready."""

    name: str
    look: Look
    own: bool = True


@dataclass(slots=True)
class ServiceState:
    """A service at the last look. `troubles` has every dependency by its name in health checks; None: it is well."""

    troubles: dict[str, Trouble | None] = field(default_factory=dict)
    groups: dict[str, Standing] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether calls are welcome."""
        return bool(self.troubles) and not any(trouble is not None and trouble.stops for trouble in self.troubles.values())


class _Group:
    """A group, and since when it has not been well."""

    def __init__(self, entry: Any, is_view: bool, failing_s: float, stalled_s: float) -> None:
        # Not the member itself: a rebuilt read model gets a new member.
        self._entry = entry
        self._failing_s = failing_s
        self._stalled_s = stalled_s
        self.name: str = entry.member.group.partition("~")[0]
        # Until a read model has folded what was in the log at the start, its answers are old.
        self._catching_up = is_view
        self._failing_since: float | None = None

    async def look(self, state: ServiceState) -> Trouble | None:
        """The group's trouble now; its standing is kept in `state`."""
        trouble = await self._trouble(state)
        outdated = await self._entry.outdated() if isinstance(self._entry, View) else None
        if outdated is not None and (trouble is None or outdated.unreadable):
            return Trouble(outdated.reason, stops=outdated.unreadable)
        return trouble

    async def _trouble(self, state: ServiceState) -> Trouble | None:
        now = time.monotonic()
        standing = state.groups[self.name] = await self._entry.member.standing()
        behind = self._catching_up and standing.catching_up > 0
        if not standing.leads and not behind:
            self._failing_since = None
            return None
        if not standing.failing:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = now
        if self._failing_since is not None and now - self._failing_since >= self._failing_s:
            return Trouble(f"an event fails again and again: {standing.failing}", stops=behind)
        if behind:
            return Trouble(f"has yet to read {counted(standing.catching_up, 'event')} of the log", stops=True)
        self._catching_up = False
        if standing.still_s >= self._stalled_s:
            return Trouble(
                f"is stalled: nothing was done for {standing.still_s:.0f} s, with {counted(standing.lag, 'event')} before it"
            )
        return None


class Readiness:
    """Looks at what the services of a process depend on, and tells health checks. Logs each trouble, and its end."""

    def __init__(
        self,
        process: Process,
        containers: Sequence[Container],
        *,
        failing_s: float = FAILING_S,
        stalled_s: float | None = None,
    ) -> None:
        """To be made before anything is started: nothing is ready yet."""
        self._process = process
        self._store_trouble: Trouble | None = None
        self._store_tried = float("-inf")
        self._log = logger("readiness")
        self._task: asyncio.Task[None] | None = None
        self.states = {container.manifest.grpc: ServiceState() for container in containers}
        self._patience = failing_s, process.settings.stalled_s if stalled_s is None else stalled_s
        self._dependencies = {container.manifest.grpc: self._of(container) for container in containers}
        # A gateway leads a question to any process, so each one also tells of the other processes' services.
        elsewhere = [name for name in process.settings.peers if name not in self.states]
        self._peers = {name: self._neighbour_look(name) for name in elsewhere}
        self._peers_ready = dict.fromkeys(elsewhere, False)
        self._tell()

    def _of(self, container: Container) -> list[Dependency]:
        service = container.manifest.grpc
        found = [Dependency(f"{service}/store", self._look_at_store)]
        entries = {e: isinstance(e, View) for e in container.extensions if hasattr(e, "member")}
        if entries:
            found.append(
                Dependency(f"{service}/views", _read_models_look(ServiceReadModels.of(self._process, container.manifest.name)))
            )
        for entry, is_view in sorted(entries.items(), key=lambda item: str(item[0].member.group)):
            group = _Group(entry, is_view, *self._patience)
            found.append(Dependency(f"{service}/{group.name}", group.look))
        found += [
            Dependency(f"{service}/{entrypoint.label}", _entrypoint_look(entrypoint))
            for entrypoint in sorted(container.entrypoints, key=lambda one: str(one.label))
            if isinstance(entrypoint, Timer | Windows | Passed)
        ]
        called = {name for provider in container.dependencies for name in getattr(provider, "calls", ())}
        found += [Dependency(f"{service}/{name}", self._neighbour_look(name), own=False) for name in sorted(called)]
        return found

    async def begin(self) -> None:
        """To be called when everything is started: looks once, then again and again until `end`."""
        await self.look()
        self._task = asyncio.ensure_future(self._go_on())

    def end(self) -> None:
        """Nothing is ready any more, for good."""
        if self._task is not None:
            self._task.cancel()
        self._process.server.health.end()

    async def look(self) -> None:
        """Looks at everything once, and tells health checks."""
        await self._try_store()
        await asyncio.gather(self._look_at_peers(), *map(self._look_at, self._dependencies))
        self._tell()

    @property
    def ready(self) -> bool:
        """Whether every service is ready."""
        return all(state.ready for state in self.states.values())

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S if self.ready else _SOON_S)
            await self.look()

    async def _look_at(self, service: str) -> None:
        state, dependencies = ServiceState(), self._dependencies[service]
        found = await asyncio.gather(*(_in_time(one.look(state), one.own) for one in dependencies))
        state.troubles = {one.name: trouble for one, trouble in zip(dependencies, found, strict=True)}
        before = self.states[service].troubles
        for name, trouble in state.troubles.items():
            if trouble is None and before.get(name) is not None:
                self._log.info("is well again", name=name)
            elif trouble is not None and before.get(name) is None:
                self._log.warning("is not well", name=name, reason=trouble.reason, service_is_ready=state.ready)
        self.states[service] = state

    async def _look_at_peers(self) -> None:
        found = await asyncio.gather(*(_in_time(look(ServiceState()), own=False) for look in self._peers.values()))
        self._peers_ready = {name: trouble is None for name, trouble in zip(self._peers, found, strict=True)}

    def _tell(self) -> None:
        others = [name for name in self._process.server.services if name not in self.states]
        ready = {"": self.ready, **dict.fromkeys(others, True), **self._peers_ready}
        for service, state in self.states.items():
            ready[service] = state.ready
            names = [one.name for one in self._dependencies[service]]
            ready |= {name: name in state.troubles and state.troubles[name] is None for name in names}
        self._process.server.health.set(ready)

    # -- what is looked at ----------------------------------------------------------------------------------------------

    async def _try_store(self) -> None:
        now = time.monotonic()
        if self._store_trouble is None and now - self._store_tried < _TRY_STORE_S:
            return
        self._store_tried = now
        self._store_trouble = await _in_time(self._write_to_store(), own=True)

    async def _write_to_store(self) -> Trouble | None:
        await self._process.store.writable()
        unwell = self._process.store.unwell() or self._process.trail.unwell()
        return Trouble(unwell) if unwell else None

    async def _look_at_store(self, state: ServiceState) -> Trouble | None:
        return self._store_trouble

    def _neighbour_look(self, neighbour: str) -> Look:
        async def look(state: ServiceState) -> Trouble | None:
            here = self.states.get(neighbour)
            if here is not None:
                return None if here.ready else Trouble("runs in this process, and is not ready")
            reason = await self._process.outgoing.unreachable(neighbour)
            return Trouble(reason) if reason else None

        return look


def _entrypoint_look(entrypoint: CityEntrypoint) -> Look:
    async def look(state: ServiceState) -> Trouble | None:
        return Trouble(entrypoint.trouble) if entrypoint.trouble else None

    return look


def _read_models_look(own: ServiceReadModels) -> Look:
    async def look(state: ServiceState) -> Trouble | None:
        await own.models.changes()
        return None

    return look


async def _in_time(looking: Awaitable[Trouble | None], own: bool) -> Trouble | None:
    """What a look found. A look that fails, or takes too long, is a trouble too."""
    try:
        return await asyncio.wait_for(looking, _ANSWER_S)
    except TimeoutError:
        return Trouble(f"does not answer within {_ANSWER_S:g} s", stops=own)
    except Exception as error:
        return Trouble(str(error) or type(error).__name__, stops=own)
