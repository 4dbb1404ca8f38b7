"""Whether the audit trail is as it was written: which batches were removed, changed, reordered or inserted.

First the log is read (which batches do its readers find?), then the anchors, then the chains, and at last the newest anchors:
so a city that goes on writing looks whole. `check` looks at one chain, from its end to its beginning.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from citybrain.audit.v1 import records_pb2 as pb

from citybrain.event_store.distributed.streams import Incomplete
from citybrain.event_store.store import Cursor, EventStore, StoredEvent
from citybrain.mesh.audit import chain
from citybrain.mesh.audit.chain import ZERO, Link

What = Literal["removed", "changed", "reordered", "inserted"]
Progress = Callable[[str, int], None]
"""Called with what is being read, and how many batches of it were."""
Ends = Mapping[str, tuple[int, bytes]]
"""Ends of chains: the number and the hash of a batch, by the name of its chain."""
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """Batches `first` to `last` of a chain are not as they were written."""

    chain: str
    first: int
    last: int
    what: What
    why: str


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain as it stands: number and hash (in hexadecimal) of its last right batch, and how many records are in it."""

    batches: int
    hash: str
    records: int
    # Up to where anchors know it, and whether its process has closed it.
    anchored: int
    closed: bool


@dataclass(slots=True)
class Report:
    """What was found. `chains` by name; that of the anchors is among them."""

    chains: dict[str, Chain] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether all is as it was written, as far as it can be known."""
        return not self.findings


@dataclass(slots=True)
class Known:
    """What others say of a chain: hashes by number, how far anchors know it, and after which number nothing follows."""

    hashes: dict[int, bytes] = field(default_factory=dict)
    begun: bool = False
    anchored: int = 0
    closed: int | None = None

    def learn(self, end: pb.ChainEnd) -> None:
        """Takes over what an anchor says."""
        self.begun = True
        if end.number:
            self.hashes.setdefault(end.number, end.hash)
            self.anchored = max(self.anchored, end.number)
        if end.closed:
            self.closed = end.number


async def verify(
    store: EventStore, *, since: str = "", earlier: Ends | None = None, progress: Progress = lambda what, done: None
) -> Report:
    """Reads the whole trail. `since`: only chains of this day (20260105) and later. `earlier`: ends that were known before."""
    known: defaultdict[str, Known] = defaultdict(Known)
    for name, (number, digest) in (earlier or {}).items():
        known[name].hashes[number] = digest
    logged = await _logged(store, progress)
    anchors = [link async for link in _anchors(store, 1, known, progress)]
    report = Report()
    names = {name for name in known.keys() | logged.keys() if name != chain.ANCHORS}
    for name in sorted(names, key=lambda one: (one.rpartition("-")[2], one)):
        if (day := name.rpartition("-")[2]).isdigit() and day < since:
            continue
        links = [chain.link_of(name, event) async for event in _events(store, chain.stream_of(name), 1, name, progress)]
        for link in _add(report, name, links, known[name], logged.get(name, set())):
            # So batches know the anchors too.
            if link.anchor.number:
                known[chain.ANCHORS].hashes.setdefault(link.anchor.number, link.anchor.hash)
    newest = max((link.version for link in anchors), default=0)
    anchors += [link async for link in _anchors(store, newest + 1, known, progress)]
    known[chain.ANCHORS].begun = True
    _add(report, chain.ANCHORS, anchors, known[chain.ANCHORS], logged.get(chain.ANCHORS, set()))
    return report


def check(name: str, links: Sequence[Link], known: Known) -> tuple[list[Finding], list[Link]]:
    """What is wrong with a chain, and those of its links that are right, in order.

    What a batch must be is said by an anchor, or by the batch after it, if that one is right; at the end of a chain without an
    anchor, by the batch itself.
    """
    found: list[Finding] = []

    def tell(first: int, last: int, what: What, why: str) -> None:
        found.append(Finding(name, first, last, what, why))

    at: defaultdict[int, list[Link]] = defaultdict(list)
    for link in links:
        # The number in a damaged batch may be anything.
        at[link.number if link.sound else link.version].append(link)
    right: list[Link] = []
    expected: bytes | None = None
    after = max([*at, *known.hashes], default=0) + 1
    for number in sorted({*at, *known.hashes}, reverse=True):
        if number + 1 < after:
            tell(number + 1, after - 1, "removed", "they are in no batch that is there")
            expected = None
        after, group = number, sorted(at.get(number, ()), key=lambda link: (not link.sound, link.version != number))
        anchored = known.hashes.get(number)
        if anchored is not None and expected not in (None, anchored):
            tell(number + 1, number + 1, "changed", "it names another batch before it than the anchor does")
        wanted = expected if anchored is None else anchored
        fits = [link for link in group if (link.sound if wanted is None else link.hash == wanted)]
        if not group:
            tell(number, number, "removed", "an anchor or the next batch knows it")
        elif not fits:
            tell(number, number, "changed", "it is not the one that was written" if wanted else "its content and its id differ")
        elif not fits[0].sound:
            tell(number, number, "changed", "what stands beside its content was changed")
        others = [link for link in group if link is not (fits[0] if fits else group[0])]
        for _ in others:
            tell(number, number, "inserted", "there is another one of the same number")
        expected = fits[0].before if fits else None
        right += fits[:1]
    if after > 1:
        tell(1, after - 1, "removed", "the chain begins later")
    elif expected not in (None, ZERO):
        tell(1, 1, "changed", "it names a batch before it, and is the first")
    right.reverse()
    if known.closed is not None and (later := [link.number for link in right if link.number > known.closed]):
        tell(later[0], later[-1], "inserted", "the chain was closed before")
    shifted = any(one.what in ("removed", "inserted") for one in found)
    for before, link in zip([None, *right], right, strict=False):
        if (before and link.version < before.version) or (link.version != link.number and not shifted):
            tell(link.number, link.number, "reordered", f"it stands at place {link.version}")
    return _merged(found), right


def _add(report: Report, name: str, links: Sequence[Link], known: Known, logged: set[tuple[int, bytes]]) -> list[Link]:
    """Checks a chain for the report; returns its right links."""
    found, right = check(name, links, known)
    if links and not known.begun:
        found = [Finding(name, 1, max(link.version for link in links), "inserted", "no anchor says that this chain was begun")]
    told = {number for one in found for number in (one.first, one.last)}
    in_stream = {(link.version, link.hash) for link in links}
    for version in sorted({version for version, _ in logged - in_stream} - told):
        if not any(one.first <= version <= one.last for one in found):
            found.append(
                Finding(name, version, version, "inserted", "readers of the log find it, and its chain does not have it")
            )
    last = right[-1] if right else None
    report.findings += found
    report.chains[name] = Chain(
        batches=last.number if last else 0,
        hash=last.hash.hex() if last else "",
        records=sum(link.records for link in links),
        anchored=known.anchored,
        closed=known.closed is not None,
    )
    return right


def _merged(found: Iterable[Finding]) -> list[Finding]:
    """In the order of the numbers; neighbours that were removed are one finding."""
    merged: list[Finding] = []
    for one in sorted(found, key=lambda one: (one.first, one.last)):
        last = merged[-1] if merged else None
        if last is not None and one.what == last.what == "removed" and one.first <= last.last + 1:
            merged[-1] = replace(last, last=max(last.last, one.last))
        else:
            merged.append(one)
    return merged


async def _logged(store: EventStore, progress: Progress) -> dict[str, set[tuple[int, bytes]]]:
    """Versions and hashes of the batches in the log, by chain. In another stream they belong to a chain of that whole name."""
    feed = store.feed([chain.BATCH, chain.ANCHOR])
    place: Cursor = {}
    found: defaultdict[str, set[tuple[int, bytes]]] = defaultdict(set)
    done = 0
    while not feed.ended(place):
        page = await feed.read(place, _PAGE)
        for event in page.events:
            found[chain.chain_of(event.stream)].add((event.version, chain.hash_of(event.data)))
        done += len(page.events)
        progress("the log", done)
        place = page.cursor
    return found


async def _anchors(store: EventStore, first: int, known: defaultdict[str, Known], progress: Progress) -> AsyncIterator[Link]:
    """The links of the chain of anchors from a version on; what they say of other chains is learned."""
    async for event in _events(store, chain.stream_of(chain.ANCHORS), first, chain.ANCHORS, progress):
        link = chain.link_of(chain.ANCHORS, event)
        if link.sound:
            for end in pb.ChainsAnchored.FromString(event.data).chains:
                known[end.chain].learn(end)
        yield link


async def _events(store: EventStore, stream: str, first: int, name: str, progress: Progress) -> AsyncIterator[StoredEvent]:
    """The events of a stream. One that is missing is left out, also with an engine that refuses to read over it."""
    version, limit = first, _PAGE
    while True:
        try:
            page = await store.read(stream, version, limit)
        except Incomplete:
            # One by one, to come past it.
            version, limit = (version, 1) if limit > 1 else (version + 1, 1)
            continue
        if not page:
            return
        for event in page:
            yield event
        version = max(version, page[-1].version) + 1
        progress(name, version)
