"""The credit of an area from where its subjects stand.

index = 100 · (1 − Σ count · weight / subjects): 100 where nobody has a bad record, 0 where all are under sanction. Each subject
is counted once, where it stands worst. The weights are proposals of this project, with a version. No unit.
"""

from __future__ import annotations

from collections.abc import Mapping

VERSION = "2026-11"
WEIGHTS = {"sanctioned": 1.0, "serious": 0.7, "common": 0.4, "minor": 0.1}
FEWEST_SUBJECTS = 30
"""Of fewer no index is made: one subject would move it by more than a point."""


def index(subjects: int, worst: Mapping[str, int]) -> float | None:
    """The index. `worst`: how many stand where. None: there are too few subjects to say."""
    if subjects < FEWEST_SUBJECTS:
        return None
    return 100 * (1 - sum(WEIGHTS[name] * count for name, count in worst.items()) / subjects)
