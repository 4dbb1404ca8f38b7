"""What a call is about, by its words: a plain count of known words, Chinese and English. Pure.

The rule: a text is brought into one form (NFKC, small letters). A Chinese word counts where it stands anywhere, an English one
where no letter touches it. Each known word counts once, with its length in letters (Chinese: twice, since one of them says as
much as several Latin ones). The kind with the highest sum wins, of equal ones the first of the table. No word: "other", for a
person.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from citybrain.services.urban.hotline_table import KINDS

OTHER = "other"


def classify(text: str) -> tuple[str, list[str]]:
    """The kind, and the words that led to it."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    best, best_words, best_sum = OTHER, list[str](), 0
    for kind, row in KINDS.items():
        found = [word for word in row.words if _stands(word).search(plain)]
        total = sum(len(word) if word.isascii() else 2 * len(word) for word in found)
        if total > best_sum:
            best, best_words, best_sum = kind, found, total
    return best, best_words


@cache
def _stands(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z]){re.escape(word)}(?:s|es)?(?![a-z])" if word.isascii() else re.escape(word))
