"""What is published about a place on a day: sorted, decided by people, and risks that stand out of it. Pure.

A risk is told when posts come, and stays told when others come that are of another mood. It is retracted only when posts that
it rested on are decided otherwise, have other words, or do not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import reduce

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import opinion_pb2 as pb
from citybrain.tourism.v1 import tourism_service_pb2 as places_pb
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.tourism import hours, opinion_lexicon, opinion_table, share_chart
from citybrain.services.tourism.hours import HOUR

AHEAD = 60_000_000
"""Clocks of collectors may be so much ahead of ours, in microseconds."""

MOST_DAYS_AGO = 31
USUAL_DAYS = 28
"""What is usual is what was said in so many days before."""

MOST_NAMED = 20
MOST = 20_000
"""So many posts of a place and a day are taken in: they are judged together. A proposal of this project."""
METHOD = f"{opinion_table.VERSION}, chance {share_chart.CHANCE}"
CLEAR = (pb.MOOD_PLEASED, pb.MOOD_NEUTRAL, pb.MOOD_ANNOYED)

TOPICS = (*opinion_table.TOPICS, pb.OPINION_TOPIC_OTHER)

Usual = Mapping[pb.OpinionTopic, tuple[int, int]]
"""By topic, how many of how many posts were annoyed in the days before."""


@dataclass(frozen=True, slots=True)
class Day:
    """The posts of a place on a day, those that do not count, and the risks that stand, by topic."""

    posts: Mapping[str, pb.SortedPost] = field(default_factory=dict)
    void: frozenset[str] = frozenset()
    risks: Mapping[pb.OpinionTopic, pb.Risk] = field(default_factory=dict)


def evolve(day: Day, event: Message) -> Day:
    """The day after an event."""
    match event:
        case ev.PostSorted():
            return replace(day, posts={**day.posts, event.post.post_id: event.post})
        case ev.PostVoided():
            posts = {key: one for key, one in day.posts.items() if key != event.post_id}
            return replace(day, posts=posts, void=day.void | {event.post_id})
        case ev.OpinionRisk():
            return replace(day, risks={**day.risks, event.risk.topic: event.risk})
        case ev.OpinionRiskRetracted():
            return replace(day, risks={key: one for key, one in day.risks.items() if key != event.topic})
    return day


def by_day(posts: Iterable[pb.Post], now: int) -> dict[str, list[pb.Post]]:
    """Posts by the day in Hangzhou on which they were published. BadRequest, with the field: one that cannot be."""
    wrong: list[tuple[str, str]] = []
    found: dict[str, list[pb.Post]] = {}
    seen: set[str] = set()
    for number, one in enumerate(posts):
        at, name = microseconds(one.published_at), f"posts[{number}]"
        if at > now + AHEAD:
            wrong.append((f"{name}.published_at", "is in the future"))
        if at < now - MOST_DAYS_AGO * 24 * HOUR:
            wrong.append((f"{name}.published_at", f"is more than {MOST_DAYS_AGO} days ago"))
        if one.outlet and one.channel != pb.CHANNEL_NEWS:
            wrong.append(
                (f"{name}.outlet", "is for news alone: elsewhere it would be an account, and nobody's name is taken in")
            )
        if one.post_id in seen:
            wrong.append((f"{name}.post_id", "stands in the list before"))
        seen.add(one.post_id)
        found.setdefault(hours.day_and_hour(at // HOUR)[0].isoformat(), []).append(one)
    if wrong:
        raise BadRequest(wrong)
    return found


@dataclass(frozen=True, slots=True)
class Where:
    """Which place and day it is about, and what is usual there. `now`: microseconds since 1970."""

    place: places_pb.Place
    day: str
    usual: Usual
    now: int


def sort(day: Day, posts: Iterable[pb.Post], where: Where) -> list[Message]:
    """Sorts posts by their words, and says what stands out then. What people have decided stays."""
    events: list[Message] = []
    corrected, room = False, MOST - len(day.posts) - len(day.void)
    for one in posts:
        known = day.posts.get(one.post_id)
        if one.post_id in day.void or (known is not None and known.by == pb.SORTED_BY_PERSON):
            continue
        topic, mood, words = opinion_lexicon.classify(one.text)
        made = pb.SortedPost(
            post_id=one.post_id, channel=one.channel, outlet=one.outlet, published_at=one.published_at, link=one.link,
            topic=topic, mood=mood, words=words, by=pb.SORTED_BY_RULE, method=opinion_table.VERSION,
        )  # fmt: skip
        if made == known:
            continue
        corrected, room = corrected or known is not None, room - (known is None)
        events.append(_sorted(made, known, where))
    if room < 0:
        problem = f"of {where.place.place_id} on {where.day} {MOST} posts are taken in at most: collect a sample of them"
        raise Refused(problem, "TOO_MANY_POSTS")
    return events + _risks(reduce(evolve, events, day), where, retract=corrected)


def decide(day: Day, request: pb.DecidePostRequest, where: Where) -> list[Message]:
    """A person says what a post is, or that it does not count."""
    known = day.posts.get(request.post_id)
    if not request.void and (not request.topic or request.mood not in CLEAR):
        raise BadRequest([("mood", "and topic are to be given, and not unclear: or void, where the post does not count")])
    if request.void and request.post_id in day.void:
        return []
    if known is None:
        raise NotFound(f"there is no post {request.post_id} of {request.day}: ListPosts shows which there are", "NO_SUCH_POST")
    if request.void:
        event: Message = ev.PostVoided(
            place_id=where.place.place_id, district_id=where.place.district_id, day=where.day, post_id=known.post_id,
            channel=known.channel, old_topic=known.topic, old_mood=known.mood,
        )  # fmt: skip
    else:
        made = pb.SortedPost()
        made.CopyFrom(known)
        made.topic, made.mood, made.by = request.topic, request.mood, pb.SORTED_BY_PERSON
        if made == known:
            return []
        event = _sorted(made, known, where)
    return [event, *_risks(evolve(day, event), where, retract=True)]


def _sorted(made: pb.SortedPost, known: pb.SortedPost | None, where: Where) -> ev.PostSorted:
    before = pb.SortedPost() if known is None else known
    return ev.PostSorted(
        place_id=where.place.place_id, district_id=where.place.district_id, day=where.day, post=made, old_topic=before.topic,
        old_mood=before.mood,
    )  # fmt: skip


def _risks(day: Day, where: Where, *, retract: bool) -> list[Message]:
    """The risks that stand out now and were not told. `retract`: those that were told and do not are taken back."""
    clear, annoyed = Counter[int](), Counter[int]()
    for one in day.posts.values():
        if one.mood in CLEAR:
            clear[one.topic] += 1
            annoyed[one.topic] += one.mood == pb.MOOD_ANNOYED
    events: list[Message] = []
    for topic in TOPICS:
        told, found = day.risks.get(topic), _stands_out(annoyed[topic], clear[topic], where.usual.get(topic, (0, 0)))
        if told is None and found:
            events.append(ev.OpinionRisk(risk=_risk(topic, day, found, where), district_id=where.place.district_id))
        if told is not None and not found and retract:
            events.append(
                ev.OpinionRiskRetracted(
                    place_id=where.place.place_id, district_id=where.place.district_id, day=where.day, topic=topic,
                    annoyed=annoyed[topic], posts=clear[topic],
                    reason="posts that it rested on were decided otherwise, have other words now, or do not count",
                )
            )  # fmt: skip
    return events


def _stands_out(annoyed: int, posts: int, usual: tuple[int, int]) -> int:
    """From how many on it is more than chance, where it is; else 0."""
    if posts < share_chart.FEWEST or usual[1] < share_chart.FEWEST_USUAL:
        return 0
    limit = share_chart.limit(posts, share_chart.usual_share(*usual))
    return limit if annoyed >= limit else 0


def _risk(topic: pb.OpinionTopic, day: Day, limit: int, where: Where) -> pb.Risk:
    mine = [one for one in day.posts.values() if one.topic == topic and one.mood in CLEAR]
    annoyed = [one for one in mine if one.mood == pb.MOOD_ANNOYED]
    newest = sorted(annoyed, key=lambda one: (-microseconds(one.published_at), one.post_id))
    count, usual = where.usual[topic]
    return pb.Risk(
        place_id=where.place.place_id, day=where.day, topic=topic, annoyed=len(annoyed), posts=len(mine), limit=limit,
        usual_share=round(share_chart.usual_share(count, usual), 4), usual_posts=usual, found_at=timestamp(where.now),
        post_ids=[one.post_id for one in newest[:MOST_NAMED]], method=METHOD,
    )  # fmt: skip


def days_before(day: str) -> tuple[str, str]:
    """The first and the last of the days that say what is usual on one."""
    last = date.fromisoformat(day).toordinal() - 1
    return date.fromordinal(last - USUAL_DAYS + 1).isoformat(), date.fromordinal(last).isoformat()
