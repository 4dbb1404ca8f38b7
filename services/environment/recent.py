"""The last steps of five minutes of all stations, in memory only: what was before an exceedance.

After a restart there are none.
"""

from __future__ import annotations

from typing import Any

from citybrain.mesh.service import Provider
from citybrain.services.environment.surroundings import BEFORE, Step


class Recent(Provider):
    """One list of steps for all calls of the process, the oldest first."""

    def setup(self) -> None:
        """Starts empty."""
        self._steps: list[Step] = []

    def get_dependency(self, worker_ctx: Any) -> Recent:
        """The provider itself."""
        return self

    def before(self, step: Step) -> list[Step]:
        """The steps before one, at most an hour of them, and that one; it is kept for those after it."""
        self._steps = [one for one in self._steps if one[0] < step[0]][-BEFORE:]
        found = [*self._steps, step]
        self._steps = found
        return found
