"""What the soak shares with the tests that it repeats."""

from tests.engines.conftest import engines, prefix

__all__ = ["engines", "prefix"]
