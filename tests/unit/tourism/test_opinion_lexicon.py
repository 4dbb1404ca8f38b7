"""What is said, by its words: topic and mood, and how often that is right."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from citybrain.tourism.v1 import opinion_pb2 as pb

from citybrain.services.tourism import opinion_table as table
from citybrain.services.tourism.opinion_lexicon import classify
from tests.unit.tourism.opinion_texts import HELD_OUT, TRIED

PAGE = Path(__file__).parents[3] / "docs" / "tourism.md"


def sorted_as(text: str) -> tuple[str, str]:
    topic, mood, _ = classify(text)
    return pb.OpinionTopic.Name(topic).removeprefix("OPINION_TOPIC_"), pb.Mood.Name(mood).removeprefix("MOOD_")


@pytest.mark.parametrize(
    ("text", "topic", "mood"),
    [
        ("厕所很脏", "CLEANLINESS", "ANNOYED"),
        ("厕所不脏", "CLEANLINESS", "PLEASED"),
        ("ＤＩＲＴＹ toilets", "CLEANLINESS", "ANNOYED"),
        ("The toilet was not clean", "CLEANLINESS", "ANNOYED"),
        ("It isn’t expensive", "PRICES", "PLEASED"),
        ("门票不错", "PRICES", "PLEASED"),
        ("门票多少钱", "PRICES", "NEUTRAL"),
        ("门票涨了", "PRICES", "UNCLEAR"),
        ("服务很好，厕所很脏", "CLEANLINESS", "UNCLEAR"),
        ("服务很好，太好了，厕所很脏", "CLEANLINESS", "PLEASED"),
        ("真好看，醉了", "OTHER", "UNCLEAR"),
        ("Scenery", "SCENERY", "UNCLEAR"),
        ("A businesslike buster", "OTHER", "UNCLEAR"),
        ("unclean", "OTHER", "UNCLEAR"),
        ("门票 bus", "PRICES", "UNCLEAR"),
        ("几点", "OTHER", "UNCLEAR"),
        ("", "OTHER", "UNCLEAR"),
    ],
)
def test_a_text_has_the_topic_and_the_mood_of_its_words(text: str, topic: str, mood: str) -> None:
    assert sorted_as(text) == (topic, mood)


def test_the_words_that_led_to_it_are_told_and_of_words_that_overlap_the_longest() -> None:
    assert classify("堵车，太危险")[2] == ["堵车", "危险"]
    assert classify("very unsafe")[2] == ["unsafe"]


def test_no_word_belongs_to_two_topics_or_to_both_moods() -> None:
    words = [word for topic in table.TOPICS.values() for word in topic]
    assert len(words) == len(set(words))
    assert not set(table.PLEASED) & set(table.ANNOYED)
    assert len(table.PLEASED) == len(set(table.PLEASED)) and len(table.ANNOYED) == len(set(table.ANNOYED))


def test_the_score_on_texts_that_were_held_out_is_the_one_that_is_told() -> None:
    found = Counter[str]()
    for topic, mood, text in HELD_OUT:
        has_topic, has_mood = sorted_as(text)
        found["topic"] += has_topic == topic
        found["no topic"] += has_topic == "OTHER" != topic
        found["mood"] += has_mood == mood
        found["no mood"] += has_mood == "UNCLEAR" != mood
    wrong = {name: len(HELD_OUT) - found[name] - found[f"no {name}"] for name in ("topic", "mood")}
    page = PAGE.read_text(encoding="utf-8")
    assert (
        f"Of {len(HELD_OUT)} texts {found['topic']} have the right topic, {found['no topic']} none, {wrong['topic']} another; "
        f"{found['mood']} have the right mood, {found['no mood']} are left to a person, {wrong['mood']} have another"
    ) in page


def test_no_text_is_tried_and_held_out() -> None:
    assert not {text for *_, text in TRIED} & {text for *_, text in HELD_OUT}
    assert all(sorted_as(text) == (topic, mood) for topic, mood, text in TRIED)
    topics = {name.removeprefix("OPINION_TOPIC_") for name in pb.OpinionTopic.DESCRIPTOR.values_by_name} - {"UNSPECIFIED"}
    assert {topic for topic, *_ in TRIED} == {topic for topic, *_ in HELD_OUT} == topics
