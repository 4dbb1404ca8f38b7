"""What is said of a place, by its words: a plain count of known words, Chinese and English. Pure.

A text is brought into one form (NFKC, small letters). A Chinese word counts where it stands anywhere, an English one where no
letter touches it. Each known word counts once; where words overlap, the longest.

- *Topic*: each word counts with its length in letters (Chinese: twice, since one of them says as much as several Latin ones).
  The topic with the highest sum wins, of equal ones the first of the table; no word: other.
- *Mood*: words that please against words that annoy. One that is negated right before counts for the other side. A side wins
  where it has twice as many as the other. A question without any is neutral, if the topic is known. All else is unclear, and so
  is praise with a word of irony: a person decides that.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from citybrain.tourism.v1 import opinion_pb2 as pb

from citybrain.services.tourism import opinion_table as table

_APART = r"[\s,;:]+"


def classify(text: str) -> tuple[pb.OpinionTopic, pb.Mood, list[str]]:
    """Topic and mood, and the words that led to them."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    topic, words = _topic(plain)
    mood, more = _mood(plain)
    if mood == pb.MOOD_UNCLEAR and not more and topic != pb.OPINION_TOPIC_OTHER and _found(plain, table.QUESTIONS):
        mood = pb.MOOD_NEUTRAL
    return topic, mood, list(dict.fromkeys([*words, *more]))


def _topic(plain: str) -> tuple[pb.OpinionTopic, list[str]]:
    best, best_words, best_sum = pb.OPINION_TOPIC_OTHER, list[str](), 0
    for topic, words in table.TOPICS.items():
        found = [word for word, _ in _found(plain, words)]
        total = sum(len(word) if word.isascii() else 2 * len(word) for word in found)
        if total > best_sum:
            best, best_words, best_sum = topic, found, total
    return best, best_words


def _mood(plain: str) -> tuple[pb.Mood, list[str]]:
    sides = {pb.MOOD_PLEASED: 0, pb.MOOD_ANNOYED: 0}
    found = _found(plain, (*table.PLEASED, *table.ANNOYED))
    for word, at in found:
        pleases = (word in table.PLEASED) != _is_negated(plain, at, english=word.isascii())
        sides[pb.MOOD_PLEASED if pleases else pb.MOOD_ANNOYED] += 1
    pleased, annoyed, words = sides[pb.MOOD_PLEASED], sides[pb.MOOD_ANNOYED], [word for word, _ in found]
    if not words:
        return pb.MOOD_UNCLEAR, []
    irony = [word for word, _ in _found(plain, table.IRONY)]
    if pleased and irony:
        return pb.MOOD_UNCLEAR, [*words, *irony]
    if annoyed >= 2 * pleased:
        return pb.MOOD_ANNOYED, words
    return (pb.MOOD_PLEASED if pleased >= 2 * annoyed else pb.MOOD_UNCLEAR), words


def _found(plain: str, words: tuple[str, ...]) -> list[tuple[str, int]]:
    """The words that stand in a text, the longest first, each once, and where. What one of them covers no other has."""
    rest, found = plain, []
    for word in sorted(words, key=lambda one: (-len(one), one)):
        if match := _stands(word).search(rest):
            found.append((word, match.start()))
            rest = _stands(word).sub(lambda one: "\0" * len(one.group()), rest)
    return found


def _is_negated(plain: str, at: int, *, english: bool) -> bool:
    before = plain[:at]
    if not english:
        return before.endswith(table.NEGATED)
    last = re.split(_APART, before.strip())[-2:]
    return any(word in table.NEGATED_ENGLISH for word in last)


@cache
def _stands(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z]){re.escape(word)}(?:s|es)?(?![a-z])" if word.isascii() else re.escape(word))
