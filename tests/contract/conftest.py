"""The suites are no test files: pytest is told that what they assert is explained all the same."""

from __future__ import annotations

import pytest

SUITES = ("store", "read_models", "log", "clock", "readings", "requests", "quotas", "audit")
pytest.register_assert_rewrite(*(f"tests.contract.{name}" for name in SUITES))
