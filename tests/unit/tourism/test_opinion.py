"""Opinion about a place: posts are sorted and decided, risks stand out and are retracted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import pytest
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import opinion_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, Forbidden, NotFound, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running
from citybrain.services.tourism import hours, opinions, share_chart
from citybrain.services.tourism.hours import HOUR
from tests.unit.tourism.conftest import now, place, told

CROWDING, CLEAN = pb.OPINION_TOPIC_CROWDING, pb.OPINION_TOPIC_CLEANLINESS
ANNOYED, PLEASED, UNCLEAR = pb.MOOD_ANNOYED, pb.MOOD_PLEASED, pb.MOOD_UNCLEAR
DAY = "2026-06-01"
AT = (hours.first_hour(date(2026, 6, 1)) + 12) * HOUR
BAD, GOOD, OPEN = "人山人海", "一点都不挤，很舒服", "门票涨了"
USUAL = {CROWDING: (20, 200)}
WHERE = opinions.Where(place(), DAY, USUAL, AT + HOUR)


def post(post_id: str, text: str = BAD, at: int = AT, **more: object) -> pb.Post:
    given: dict[str, object] = {"channel": pb.CHANNEL_MICROBLOG, **more}
    return pb.Post(post_id=post_id, text=text, published_at=timestamp(at), **given)  # type: ignore[arg-type]


def posts(annoyed: int, pleased: int, name: str = "x") -> list[pb.Post]:
    return [post(f"{name}{number}", BAD if number < annoyed else GOOD) for number in range(annoyed + pleased)]


def after(day: opinions.Day, events: Iterable[Message]) -> opinions.Day:
    for event in events:
        day = opinions.evolve(day, event)
    return day


def risks(events: Iterable[Message]) -> list[Message]:
    return [event for event in events if isinstance(event, ev.OpinionRisk | ev.OpinionRiskRetracted)]


def decide(post_id: str, **what: object) -> pb.DecidePostRequest:
    return pb.DecidePostRequest(place_id="p1", day=DAY, post_id=post_id, **what)  # type: ignore[arg-type]


def test_the_limit_is_that_of_the_binomial_distribution() -> None:
    # Of 20 with a share of 0.1 at least 7 come with a chance of 0.0024, at least 8 with one of 0.00042.
    assert share_chart.limit(20, 0.1) == 8
    # Of 1,000 it is near the mean and three standard deviations: 100 + 3 · 9.49.
    assert share_chart.limit(1000, 0.1) in (129, 130, 131)
    assert share_chart.usual_share(0, 98) == 0.01


def test_posts_are_sorted_by_their_words_without_text_or_author() -> None:
    events = opinions.sort(opinions.Day(), [post("x", "断桥上人山人海", link="https://example.org/a/1")], WHERE)
    (event,) = events
    assert isinstance(event, ev.PostSorted)
    assert (event.post.topic, event.post.mood, list(event.post.words)) == (CROWDING, ANNOYED, ["人山人海"])
    assert (event.post.by, event.post.link, event.day, event.old_mood) == (pb.SORTED_BY_RULE, "https://example.org/a/1", DAY, 0)
    assert "断桥" not in str(event)
    assert not {"author", "user", "account", "text"} & set(pb.SortedPost.DESCRIPTOR.fields_by_name)


def test_the_same_post_counts_once_and_one_with_other_words_is_sorted_anew() -> None:
    day = after(opinions.Day(), opinions.sort(opinions.Day(), [post("x")], WHERE))
    assert opinions.sort(day, [post("x")], WHERE) == []
    (event,) = opinions.sort(day, [post("x", GOOD)], WHERE)
    assert isinstance(event, ev.PostSorted) and (event.old_mood, event.post.mood) == (ANNOYED, PLEASED)


def test_what_a_person_has_decided_stays() -> None:
    day = after(opinions.Day(), opinions.sort(opinions.Day(), [post("x", OPEN), post("y"), post("z")], WHERE))
    assert day.posts["x"].mood == UNCLEAR
    for request in (decide("x", topic=CLEAN, mood=ANNOYED), decide("y", void=True)):
        events = opinions.decide(day, request, WHERE)
        assert len(events) == 1
        day = after(day, events)
        assert opinions.decide(day, request, WHERE) == []
    assert (day.posts["x"].by, day.posts["x"].topic) == (pb.SORTED_BY_PERSON, CLEAN)
    assert opinions.sort(day, [post("x", GOOD), post("y", GOOD)], WHERE) == []


def test_a_decision_says_something_of_a_post_that_there_is() -> None:
    day = after(opinions.Day(), opinions.sort(opinions.Day(), [post("x")], WHERE))
    for request in (decide("x"), decide("x", topic=CLEAN), decide("x", mood=ANNOYED), decide("x", topic=CLEAN, mood=UNCLEAR)):
        with pytest.raises(BadRequest):
            opinions.decide(day, request, WHERE)
    for request in (decide("n", void=True), decide("n", topic=CLEAN, mood=ANNOYED)):
        with pytest.raises(NotFound):
            opinions.decide(day, request, WHERE)
    void = after(day, opinions.decide(day, decide("x", void=True), WHERE))
    assert opinions.decide(void, decide("x", void=True), WHERE) == []
    with pytest.raises(NotFound):
        opinions.decide(void, decide("x", topic=CLEAN, mood=ANNOYED), WHERE)


def test_more_annoyed_posts_than_chance_makes_are_a_risk_once_with_what_it_rests_on() -> None:
    # 21 of 202 are usual: of 20 posts 8 are too many.
    assert risks(opinions.sort(opinions.Day(), posts(7, 13), WHERE)) == []
    events = opinions.sort(opinions.Day(), posts(8, 12), WHERE)
    (event,) = risks(events)
    assert isinstance(event, ev.OpinionRisk)
    risk = event.risk
    assert (risk.topic, risk.annoyed, risk.posts, risk.limit, risk.usual_posts) == (CROWDING, 8, 20, 8, 200)
    assert risk.usual_share == pytest.approx(21 / 202, abs=1e-4) and len(risk.post_ids) == 8
    day = after(opinions.Day(), events)
    assert risks(opinions.sort(day, posts(3, 0, "y"), WHERE)) == []
    assert day.risks[CROWDING] == risk


def test_of_few_posts_and_without_what_is_usual_nothing_is_said() -> None:
    assert risks(opinions.sort(opinions.Day(), posts(19, 0), WHERE)) == []
    for usual in ({}, {CROWDING: (10, 99)}):
        here = opinions.Where(place(), DAY, usual, AT)
        assert risks(opinions.sort(opinions.Day(), posts(30, 0), here)) == []
    enough = opinions.Where(place(), DAY, {CROWDING: (10, 100)}, AT)
    assert len(risks(opinions.sort(opinions.Day(), posts(30, 0), enough))) == 1


def test_a_risk_counts_the_clear_posts_of_its_topic_alone() -> None:
    others = [post(f"o{number}", "厕所很脏") for number in range(3)]
    unclear = [post(f"u{number}", "排队，呵呵，真好") for number in range(4)]
    (event,) = risks(opinions.sort(opinions.Day(), [*posts(8, 12), *others, *unclear], WHERE))
    assert isinstance(event, ev.OpinionRisk)
    assert (event.risk.annoyed, event.risk.posts) == (8, 20)


def test_posts_that_wait_for_a_person_are_no_part_of_a_share() -> None:
    unclear = [post(f"u{number}", "排队，呵呵，真好") for number in range(12)]
    assert risks(opinions.sort(opinions.Day(), [*posts(8, 0), *unclear], WHERE)) == []


def test_a_risk_is_retracted_when_people_decide_otherwise_and_not_when_others_are_content() -> None:
    day = after(opinions.Day(), opinions.sort(opinions.Day(), posts(8, 12), WHERE))
    more = opinions.sort(day, posts(0, 60, "y"), WHERE)
    assert risks(more) == []
    (first, second) = opinions.decide(day, decide("x0", topic=CROWDING, mood=PLEASED), WHERE)
    assert isinstance(first, ev.PostSorted) and isinstance(second, ev.OpinionRiskRetracted)
    assert (second.topic, second.annoyed, second.posts) == (CROWDING, 7, 20)
    # One of ten less is still more than chance makes.
    ten = after(opinions.Day(), opinions.sort(opinions.Day(), posts(10, 10), WHERE))
    assert risks(opinions.decide(ten, decide("x0", topic=CROWDING, mood=PLEASED), WHERE)) == []
    gone = after(day, (first, second))
    assert gone.risks == {}
    # A post that does not count takes it back too, and one that counts after all tells it again.
    assert len(risks(opinions.decide(day, decide("x0", void=True), WHERE))) == 1
    (back,) = risks(opinions.decide(gone, decide("x0", topic=CROWDING, mood=ANNOYED), WHERE))
    assert isinstance(back, ev.OpinionRisk)


def test_a_risk_is_retracted_when_posts_that_it_rested_on_have_other_words() -> None:
    day = after(opinions.Day(), opinions.sort(opinions.Day(), posts(8, 12), WHERE))
    assert risks(opinions.sort(day, [post("x0")], WHERE)) == []
    assert len(risks(opinions.sort(day, [post("x0", GOOD), post("y", GOOD)], WHERE))) == 1, "whatever comes with it"
    first, second = opinions.sort(day, [post("x0", GOOD)], WHERE)
    assert isinstance(first, ev.PostSorted) and isinstance(second, ev.OpinionRiskRetracted)
    assert (second.annoyed, second.posts) == (7, 20)


def test_of_a_place_and_a_day_so_many_posts_are_taken_in_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opinions, "MOST", 3)
    day = after(opinions.Day(), opinions.sort(opinions.Day(), posts(3, 0), WHERE))
    with pytest.raises(Refused, match="of p1 on 2026-06-01 3 posts are taken in at most: collect a sample of them"):
        opinions.sort(day, [post("y")], WHERE)
    # Those that are known may have other words, and one that does not count keeps its place.
    assert len(opinions.sort(day, [post("x0", GOOD), post("x1")], WHERE)) == 1
    void = after(day, opinions.decide(day, decide("x0", void=True), WHERE))
    with pytest.raises(Refused, match="3 posts are taken in at most"):
        opinions.sort(void, [post("y")], WHERE)


def test_a_post_that_cannot_be_is_refused_with_its_field() -> None:
    assert set(opinions.by_day([post("a"), post("b", at=AT + 12 * HOUR)], AT + 13 * HOUR)) == {DAY, "2026-06-02"}
    for wrong, field in (
        (post("x", at=AT + 61_000_000), "posts[0].published_at"),
        (post("x", at=AT - 31 * 24 * HOUR - 1), "posts[0].published_at"),
        (post("x", outlet="somebody"), "posts[0].outlet"),
    ):
        with pytest.raises(BadRequest) as raised:
            opinions.by_day([wrong], AT)
        assert [name for name, _ in raised.value.violations] == [field]
    for at in (AT + 60_000_000, AT - 31 * 24 * HOUR):
        assert opinions.by_day([post("x", at=at)], AT)
    with pytest.raises(BadRequest, match="stands in the list before"):
        opinions.by_day([post("x"), post("x")], AT)
    opinions.by_day([post("x", outlet="钱江晚报", channel=pb.CHANNEL_NEWS)], AT)


def test_what_is_usual_is_from_the_28_days_before() -> None:
    assert opinions.days_before(DAY) == ("2026-05-04", "2026-05-31")


def report(tourism: Running, many: Iterable[pb.Post], **how: Any) -> pb.ReportPostsResponse:
    answer: pb.ReportPostsResponse = tourism.fire("ReportPosts", pb.ReportPostsRequest(place_id="p1", posts=many), **how)
    tourism.rest()
    return answer


def test_a_place_of_which_worse_is_said_than_in_the_weeks_before_has_a_risk_until_it_is_decided(tourism: Running) -> None:
    at = now(tourism) - HOUR
    day = hours.day_and_hour(at // HOUR)[0].isoformat()
    for ago in (2, 3):
        usual = [post(f"{ago}-{number}", BAD if number < 5 else GOOD, at - ago * 24 * HOUR) for number in range(60)]
        assert report(tourism, usual).sorted == 60
    today = [post(f"t{number}", BAD if number < 9 else GOOD, at) for number in range(20)]
    answer = report(tourism, [*today, post("open", OPEN, at)])
    assert (answer.sorted, answer.unclear) == (21, 1)
    again = report(tourism, today)
    assert (again.sorted, again.unclear) == (0, 0)
    (event,) = told(tourism, ev.OpinionRisk)
    assert (event.risk.annoyed, event.risk.usual_posts, event.risk.day) == (9, 120, day)

    asked = pb.GetOpinionRequest(place_id="p1", from_day=day, to_day=day)
    found = tourism.fire("GetOpinion", asked)
    assert list(found.risks) == [event.risk] and found.days_with_posts == 1
    assert [(one.topic, one.pleased, one.annoyed, one.unclear) for one in found.topics] == [
        (CROWDING, 11, 9, 0), (pb.OPINION_TOPIC_PRICES, 0, 0, 1),
    ]  # fmt: skip
    assert [(one.channel, one.posts) for one in found.channels] == [(pb.CHANNEL_MICROBLOG, 21)]

    for number in range(4):
        tourism.fire("DecidePost", pb.DecidePostRequest(place_id="p1", day=day, post_id=f"t{number}", void=True))
    open_one = pb.DecidePostRequest(place_id="p1", day=day, post_id="open", topic=CLEAN, mood=ANNOYED)
    tourism.fire("DecidePost", open_one)
    tourism.rest()
    assert len(told(tourism, ev.OpinionRiskRetracted)) == 1
    found = tourism.fire("GetOpinion", asked)
    assert list(found.risks) == []
    assert [(one.topic, one.pleased, one.annoyed) for one in found.topics] == [(CROWDING, 11, 5), (CLEAN, 0, 1)]
    assert [one.posts for one in found.channels] == [17]


def test_the_posts_of_a_day_are_listed_by_pages_and_links_are_for_a_clearance(tourism: Running) -> None:
    at = now(tourism) - HOUR
    day = hours.day_and_hour(at // HOUR)[0].isoformat()
    report(tourism, [post(f"x{number}", BAD if number % 2 else GOOD, at, link="https://example.org/1") for number in range(9)])
    report(tourism, [post("y", at=at - 48 * HOUR)])

    def listed(token: str = "", **more: object) -> pb.ListPostsResponse:
        request = pb.ListPostsRequest(place_id="p1", day=day, page_size=4, page_token=token)
        request.MergeFrom(pb.ListPostsRequest(**more))  # type: ignore[arg-type]
        answer: pb.ListPostsResponse = tourism.fire("ListPosts", request, clearance="RESTRICTED")
        return answer

    first = listed()
    second = listed(first.next_page_token)
    third = listed(second.next_page_token)
    assert [one.post_id for page in (first, second, third) for one in page.posts] == [f"x{number}" for number in range(9)]
    assert third.next_page_token == "" and first.posts[0].link == "https://example.org/1"
    assert [one.post_id for one in listed(mood=ANNOYED).posts] == ["x1", "x3", "x5", "x7"]
    assert list(listed(topic=CLEAN).posts) == []
    request = pb.ListPostsRequest(place_id="p1", day=day)
    assert {one.link for one in tourism.fire("ListPosts", request, clearance="INTERNAL").posts} == {""}
    before = hours.day_and_hour(at // HOUR - 48)[0].isoformat()
    assert [one.post_id for one in listed(day=before).posts] == ["y"]
    for number in range(9):
        tourism.fire("DecidePost", pb.DecidePostRequest(place_id="p1", day=day, post_id=f"x{number}", void=True))
    tourism.rest()
    assert list(listed().posts) == []
    both = tourism.fire("GetOpinion", pb.GetOpinionRequest(place_id="p1", from_day=before, to_day=day))
    assert both.days_with_posts == 1


def test_posts_are_reported_and_read_in_the_own_district(tourism: Running) -> None:
    at = now(tourism) - HOUR
    day = hours.day_and_hour(at // HOUR)[0].isoformat()
    for method, message in (
        ("ReportPosts", pb.ReportPostsRequest(place_id="p1", posts=[post("x", at=at)])),
        ("DecidePost", pb.DecidePostRequest(place_id="p1", day=day, post_id="x", void=True)),
        ("GetOpinion", pb.GetOpinionRequest(place_id="p1", from_day=day, to_day=day)),
        ("ListPosts", pb.ListPostsRequest(place_id="p1", day=day)),
    ):
        with pytest.raises(Forbidden):
            tourism.fire(method, message, district="gongshu")
    report(tourism, [post("x", at=at)], district="xihu")
    for link in ("https://example.org/@somebody", "https://example.org/1?user=2", "http://example.org"):
        with pytest.raises(BadRequest, match="link"):
            report(tourism, [post("y", at=at, link=link)])
