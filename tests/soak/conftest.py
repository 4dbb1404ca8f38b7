"""What the soak shares with the tests that it repeats."""

from tests.engines.conftest import engines, prefix
from tests.faults.conftest import bureau, lake, mesh

__all__ = ["bureau", "engines", "lake", "mesh", "prefix"]
