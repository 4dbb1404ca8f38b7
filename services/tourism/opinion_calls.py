"""Methods of opinion: what is published about a place."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from citybrain.tourism.v1 import opinion_pb2 as pb
from citybrain.tourism.v1 import tourism_service_pb2 as places_pb

from citybrain.mesh.ids import joined
from citybrain.mesh.kept import Kept
from citybrain.mesh.long_streams import done
from citybrain.mesh.service import Streams, View, rpc
from citybrain.services.tourism import opinion_views as views
from citybrain.services.tourism import opinions, places, visitors
from citybrain.services.tourism.offer_calls import SCANNED
from citybrain.services.tourism.place_calls import Key
from citybrain.services.tourism.visitor_calls import VisitorCalls, of_days


class OpinionCalls(VisitorCalls):
    """Posts, and what stands out of them."""

    opinion_streams = Streams("opinion", opinions.Day, opinions.evolve, snapshot_every=500)
    post_list = View(views.POST_EVENTS, views.post_key, views.post, row=Kept)
    opinion_days = View(views.POST_EVENTS, views.day_key, views.day, row=views.OpinionRow)
    risk_list = View(views.RISK_EVENTS, views.risk_key, views.risk, row=Kept)

    @rpc
    def ReportPosts(self, request: pb.ReportPostsRequest) -> pb.ReportPostsResponse:
        """Takes posts in and sorts them, all of them or none."""
        place = places.existing(self.places.load(request.place_id).place, request.place_id)
        found = opinions.by_day(request.posts, self.clock.now())
        sorted_now = unclear = 0
        for day, posts in sorted(found.items()):
            key, where = joined(place.place_id, day), self._where(place, day)
            before = self.opinion_streams.load(key).posts
            after = done(self.opinion_streams, key, partial(opinions.sort, posts=posts, where=where), label=day).posts
            new = [after[one.post_id] for one in posts if after.get(one.post_id) != before.get(one.post_id)]
            sorted_now += len(new)
            unclear += sum(one.mood == pb.MOOD_UNCLEAR for one in new)
        return pb.ReportPostsResponse(sorted=sorted_now, unclear=unclear)

    @rpc
    def DecidePost(self, request: pb.DecidePostRequest) -> pb.DecidePostResponse:
        """A person says what a post is, or that it does not count."""
        place = places.existing(self.places.load(request.place_id).place, request.place_id)
        day = visitors.day_of(request.day, "day").isoformat()
        decide = partial(opinions.decide, request=request, where=self._where(place, day))
        done(self.opinion_streams, joined(place.place_id, day), decide)
        return pb.DecidePostResponse()

    @rpc
    def GetOpinion(self, request: pb.GetOpinionRequest) -> pb.GetOpinionResponse:
        """What is said of a place."""
        place = places.existing(self.places.load(request.place_id).place, request.place_id)
        days = visitors.days_between(request.from_day, request.to_day)
        rows = [row for row in of_days(self.opinion_days, place.place_id, days[0], days[-1]) if row.said]
        return pb.GetOpinionResponse(
            place_id=place.place_id, district_id=place.district_id, topics=views.topics(rows), channels=views.channels(rows),
            risks=[row.read(pb.Risk) for row in of_days(self.risk_list, place.place_id, days[0], days[-1])],
            days_with_posts=len(rows),
        )  # fmt: skip

    @rpc
    def ListPosts(self, request: pb.ListPostsRequest) -> pb.ListPostsResponse:
        """By id, in pages. Reads those of the day, some at a time."""
        place = places.existing(self.places.load(request.place_id).place, request.place_id)
        prefix = views.day_prefix(place.place_id, visitors.day_of(request.day, "day").isoformat())

        def asked_for(after: Key | None) -> Iterator[tuple[str, pb.SortedPost]]:
            last = str(after[0]) if after else prefix
            while rows := [(key, row) for key, row in self.post_list.scan(last, SCANNED) if key.startswith(prefix)]:
                for last, row in rows:
                    one = row.read(pb.SortedPost)
                    if request.topic in (0, one.topic) and request.mood in (0, one.mood):
                        yield last, one

        page, more = self.paging.ordered(request, asked_for, lambda found: (found[0],), default=50)
        return pb.ListPostsResponse(district_id=place.district_id, posts=[one for _, one in page], next_page_token=more)

    def _where(self, place: places_pb.Place, day: str) -> opinions.Where:
        """A day of a place, with what was usual before."""
        usual = views.usual(of_days(self.opinion_days, place.place_id, *opinions.days_before(day)))
        return opinions.Where(place, day, usual, self.clock.now())
