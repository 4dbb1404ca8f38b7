"""Read models of opinion: posts, how many there are of each topic and mood on a day, and risks that stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import opinion_pb2 as pb

from citybrain.mesh.events import Heard
from citybrain.mesh.kept import Kept
from citybrain.services.tourism import opinions
from citybrain.services.tourism.visitor_views import place_prefix

POST_EVENTS = (ev.PostSorted, ev.PostVoided)
CHANNELS = (
    pb.CHANNEL_MICROBLOG, pb.CHANNEL_SHORT_VIDEO, pb.CHANNEL_REVIEWS, pb.CHANNEL_NEWS, pb.CHANNEL_FORUM, pb.CHANNEL_HOTLINE,
)  # fmt: skip
RISK_EVENTS = (ev.OpinionRisk, ev.OpinionRiskRetracted)


@dataclass(frozen=True, slots=True)
class OpinionRow:
    """A day of a place: how many posts, by topic and mood (`1.3`), and by channel."""

    said: dict[str, int] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)


def day_prefix(place_id: str, day: str) -> str:
    """How the keys of a day of a place begin."""
    return f"{place_prefix(place_id)}{day} "


def _of(event: Heard) -> ev.PostSorted | ev.PostVoided:
    assert isinstance(event.data, ev.PostSorted | ev.PostVoided)
    return event.data


def post_key(event: Heard) -> str:
    """Place, day and post."""
    data = _of(event)
    return day_prefix(data.place_id, data.day) + (data.post.post_id if isinstance(data, ev.PostSorted) else data.post_id)


def post(_row: Kept | None, event: Heard) -> Kept | None:
    """The post as it was sorted last. None: it does not count."""
    data = _of(event)
    return Kept.of(data.post) if isinstance(data, ev.PostSorted) else None


def day_key(event: Heard) -> str:
    """Place and day."""
    return day_prefix(_of(event).place_id, _of(event).day)


def day(row: OpinionRow | None, event: Heard) -> OpinionRow | None:
    """The day with a post more, less, or sorted otherwise."""
    data, row = _of(event), row or OpinionRow()
    said, channels = Counter(row.said), Counter(row.channels)
    if data.old_mood:
        said[_said(data.old_topic, data.old_mood)] -= 1
    if isinstance(data, ev.PostSorted):
        said[_said(data.post.topic, data.post.mood)] += 1
        channels[str(int(data.post.channel))] += not data.old_mood
    else:
        channels[str(int(data.channel))] -= 1
    return OpinionRow(dict(+said), dict(+channels))


def _said(topic: pb.OpinionTopic, mood: pb.Mood) -> str:
    return f"{int(topic)}.{int(mood)}"


def risk_key(event: Heard) -> str:
    """Place, day and topic."""
    data = event.data
    if isinstance(data, ev.OpinionRisk):
        return f"{day_prefix(data.risk.place_id, data.risk.day)}{int(data.risk.topic)}"
    assert isinstance(data, ev.OpinionRiskRetracted)
    return f"{day_prefix(data.place_id, data.day)}{int(data.topic)}"


def risk(_row: Kept | None, event: Heard) -> Kept | None:
    """The risk. None: it does not stand."""
    return Kept.of(event.data.risk) if isinstance(event.data, ev.OpinionRisk) else None


def usual(rows: Iterable[OpinionRow]) -> dict[pb.OpinionTopic, tuple[int, int]]:
    """By topic, how many of how many posts of days were annoyed. Those that are unclear do not count."""
    said = _together(rows)
    found = {}
    for topic in opinions.TOPICS:
        posts = sum(said[_said(topic, mood)] for mood in opinions.CLEAR)
        found[topic] = said[_said(topic, pb.MOOD_ANNOYED)], posts
    return found


def _together(rows: Iterable[OpinionRow]) -> Counter[str]:
    said = Counter[str]()
    for row in rows:
        said.update(row.said)
    return said


def topics(rows: Iterable[OpinionRow]) -> list[pb.TopicOpinion]:
    """What is said of what, in the order of the topics."""
    said = _together(rows)
    found = [
        pb.TopicOpinion(
            topic=topic, pleased=said[_said(topic, pb.MOOD_PLEASED)], neutral=said[_said(topic, pb.MOOD_NEUTRAL)],
            annoyed=said[_said(topic, pb.MOOD_ANNOYED)], unclear=said[_said(topic, pb.MOOD_UNCLEAR)],
        )
        for topic in opinions.TOPICS
    ]  # fmt: skip
    return [one for one in found if one.pleased or one.neutral or one.annoyed or one.unclear]


def channels(rows: Iterable[OpinionRow]) -> list[pb.ChannelPosts]:
    """Where it was said, in the order of the channels."""
    found = Counter[str]()
    for row in rows:
        found.update(row.channels)
    return [pb.ChannelPosts(channel=channel, posts=posts) for channel in CHANNELS if (posts := found[str(int(channel))])]
