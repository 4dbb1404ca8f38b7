"""What the kills share with the tests of what holds when nobody is killed."""

from tests.engines.conftest import engines, prefix, settings

__all__ = ["engines", "prefix", "settings"]
