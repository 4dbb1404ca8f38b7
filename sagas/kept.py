"""The view of all sagas, kept in the memory of each process too: in order, for lists, and with news for those who watch one.

The rows are read once. From then on this process reads the log itself: so it needs nobody to tell it which rows have changed,
and lists are the same whichever process leads. The stored rows are where it begins after a restart
([decision 75](../docs/decisions/0075-lists-of-sagas-are-kept-in-memory.md)).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from citybrain.sagas.v1 import events_pb2 as ev
from typing_extensions import override

from citybrain.event_store.read_models import FoldedBy
from citybrain.event_store.store import StoredEvent
from citybrain.mesh.events import hear
from citybrain.mesh.runtime.activity import Activity
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.service import View
from citybrain.mesh.subscriptions.groups import part_name
from citybrain.mesh.upcasting import written_as
from citybrain.observability import names
from citybrain.observability.logs import logger
from citybrain.observability.metrics import Numbers
from citybrain.sagas import listing
from citybrain.sagas.engine.exercises import saga_of
from citybrain.sagas.engine.state import ENDED, Phase
from citybrain.sagas.listing import Age, SagaRow
from citybrain.sagas.ordered import Ordered, Wanted

_TYPES = written_as(message.full_name for message in ev.DESCRIPTOR.message_types_by_name.values())
_LISTED = written_as(message.DESCRIPTOR.full_name for message in listing.EVENTS)
_PAGE = 1000
_AGAIN_S = 1.0
_DAY = 86_400_000_000


class News:
    """Whether a saga may have changed since somebody looked."""

    def __init__(self, activity: Activity) -> None:
        self._activity = activity
        self.come = asyncio.Event()

    def seen(self) -> None:
        """To be called before the saga is read: what comes from now on is new."""
        self.come.clear()

    def wait(self, longest_s: float) -> bool:
        """Returns True as soon as the saga may have changed; False: nothing came for so long."""
        with self._activity.idle():
            try:
                wait(asyncio.wait_for(self.come.wait(), longest_s))
            except TimeoutError:
                return False
        return True


class Sagas(View[SagaRow]):
    """All sagas; inside a method: `self.sagas.find(wanted)`, `with self.sagas.watched(saga_id) as news`."""

    def __init__(self) -> None:
        super().__init__(listing.EVENTS, listing.key, listing.apply, row=SagaRow, exercises=True)

    @override
    def setup(self) -> None:
        super().setup()
        self._ordered = Ordered()
        self._problem: Exception | None = None
        # Whether rows were read, or cannot be.
        self._read = asyncio.Event()
        self._at_end: Callable[[], bool] = lambda: False
        self._watched: dict[str, set[News]] = {}
        self._keeping: asyncio.Task[None] | None = None
        self._unwatch: Callable[[], None] | None = None

    @override
    def start(self) -> None:
        super().start()
        self._unwatch = self._process.activity.watch(lambda: self._at_end())
        self._keep_anew()
        self._process.metrics.watch(names.SAGAS_OPEN, self._open)

    def _open(self) -> Numbers:
        """How many sagas have not ended, for the metrics; from any thread."""
        counted = self._ordered.counted().items()
        return [
            (many, {names.CITY_SERVICE: self._service, names.WORKFLOW: workflow, names.STATE: state})
            for (workflow, state), many in counted
            if state not in ENDED
        ]

    @override
    def stop(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
        super().stop()

    kill = stop

    def find(self, wanted: Wanted, after: Age | None = None) -> Iterator[SagaRow]:
        """Sagas that are wanted, newest first; `after`: those older than this. Waits for nothing once it has begun.

        RowUnreadable: rows cannot be read before the view is rebuilt.
        """
        if not self._read.is_set():
            wait(self._read.wait())
        if self._problem is not None:
            raise self._problem
        return self._ordered.find(wanted, after)

    def one(self, saga_id: str) -> SagaRow | None:
        """The row of a saga; None: there is none, or rows have not been read yet."""
        return self._ordered.get(saga_id)

    def over(self, now: int) -> Iterator[tuple[str, Phase, int]]:
        """The sagas that have stood in lists long enough: each with its state, and the moment before which it came into it.

        `now`: in microseconds of city time.
        """
        kept = self._process.settings.sagas
        days: dict[Phase, int] = {
            "completed": kept.completed_days, "undone": kept.undone_days, "terminated": kept.terminated_days,
        }  # fmt: skip
        for phase, many in days.items():
            before = now - many * _DAY
            yield from ((saga_id, phase, before) for saga_id in (self._ordered.ended(phase, before) if many else ()))

    @contextlib.contextmanager
    def watched(self, saga_id: str) -> Iterator[News]:
        """Has news of a saga, of which there need not be one."""
        news = News(self._process.activity)
        self._watched.setdefault(saga_id, set()).add(news)
        try:
            yield news
        finally:
            self._watched[saga_id].discard(news)
            if not self._watched[saga_id]:
                del self._watched[saga_id]

    @override
    def _change_over(self, live: int, by: FoldedBy) -> None:
        super()._change_over(live, by)
        self._keep_anew()

    def _keep_anew(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        # Not counted as work, because it waits for ever.
        self._keeping = self._process.loop.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            try:
                await self._read_and_follow()
            except Exception as error:
                # What cannot be read is not waited for.
                self._problem, self._at_end = error, lambda: True
                self._read.set()
                self._process.activity.changed()
                logger(self._service).error("sagas cannot be listed, which is tried again", again_in_s=_AGAIN_S, exc_info=error)
            await asyncio.sleep(_AGAIN_S)

    async def _read_and_follow(self) -> None:
        """Reads the rows, then the log behind them.

        The rows hold everything up to the position of the view, and perhaps more. So the position is read first, and events
        that are in a row already are passed over.
        """
        store, models = self._process.store, self.member.service_models.models
        await store.know(_TYPES)
        cursor = {}
        for partition in store.partitions(_TYPES):
            cursor[partition.name] = await models.position(part_name(self.member.group, partition)) or 0
        ordered = Ordered(row for _, row in await self.rows())
        feed = store.feed(_TYPES)
        while True:
            page = await feed.read(cursor, _PAGE)
            for event in page.events:
                self._take(ordered, event)
            cursor = dict(page.cursor)
            if feed.ended(cursor):
                self._ordered, self._problem = ordered, None
                self._at_end = lambda reached=cursor: feed.ended(reached)  # type: ignore[misc]
                self._read.set()
                self._process.activity.changed()
                await feed.grown(cursor)

    def _take(self, ordered: Ordered, event: StoredEvent) -> None:
        saga_id = saga_of(event.stream)
        for news in self._watched.get(saga_id, ()):
            news.come.set()
        if event.type not in _LISTED:
            return
        try:
            row = listing.apply(ordered.get(saga_id), hear(event))
        except Exception as error:
            # The view parks such an event, and says what to do. The row stays as it was.
            logger(self._service).error("event of a saga cannot be listed", saga=saga_id, event_id=event.id, exc_info=error)
            return
        if row is None:
            ordered.drop(saga_id)
        else:
            ordered.put(row)
